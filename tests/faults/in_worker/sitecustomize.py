"""Loaded by every Python process of a service under test: slows its trainings, or breaks them.

`NGPU_FAULT_PACE` is the seconds that each epoch pauses, so that there is a middle to do harm in
that does not depend on the machine. `NGPU_FAULT` names a file that is looked for at every epoch: a
JSON object with a `kind` (`raise`, `freeze`) and the `seed` that it is done to.
"""

import importlib.abc
import importlib.machinery
import json
import os
import sys
import time
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
            if type(event).__name__ == "EpochEnd" and event.active:
                time.sleep(float(os.environ["NGPU_FAULT_PACE"]))
                _strike(event.active)
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


if "NGPU_FAULT_PACE" in os.environ:
    sys.meta_path.insert(0, _Finder())
