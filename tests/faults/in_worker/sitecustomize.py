"""Loaded by every Python process of a service under test: does what `NGPU_FAULT` tells it.

The variable names a file with a JSON object: `kind` (`raise`, `freeze`), and the `seed` that it is
done to. The file is looked for at every epoch of a training that has this seed.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
from pathlib import Path

TARGET = "ngpu_core.training"


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the training as always, and puts the fault into it once it is loaded."""

    def find_spec(self, fullname, path, target=None):
        if fullname != TARGET:
            return None
        sys.meta_path.remove(self)
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            _put_into(module.PackTrainer)

        spec.loader.exec_module = exec_module
        return spec


def _put_into(trainer):
    events = trainer.events

    def with_fault(self):
        for event in events(self):
            seeds = getattr(event, "active", ())
            if seeds:
                _strike(seeds)
            yield event

    trainer.events = with_fault


def _strike(seeds):
    try:
        wanted = json.loads(Path(os.environ["NGPU_FAULT"]).read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return
    if wanted["seed"] not in seeds:
        return
    Path(os.environ["NGPU_FAULT"] + ".fired").write_text(str(os.getpid()))
    if wanted["kind"] == "raise":
        raise ArithmeticError(f"seed {wanted['seed']} is poison")
    if wanted["kind"] == "freeze":
        import ctypes

        # PyDLL keeps the interpreter's lock during the call.
        ctypes.PyDLL(None).sleep(3600)


if "NGPU_FAULT" in os.environ:
    sys.meta_path.insert(0, _Finder())
