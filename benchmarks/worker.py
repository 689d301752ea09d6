"""One contender in a process of its own, stepped on command, so that rounds can alternate.

The protocol is a line of JSON each way: `{"steps": n}` is answered by `{"done": n}`, `{"peak": 1}`
by `{"peak_bytes": …}`. Whatever libraries print goes to standard error. Needs the standard library
only: the interpreters of some peers have nothing of ours.
"""

import json
import os
import resource
import sys
from collections.abc import Callable
from typing import Any


def resident_peak() -> int:
    """Largest resident memory of this process so far, in bytes.

    Linux: VmHWM. `ru_maxrss` would do, but a process inherits it from the one that started it.
    """
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if "VmHWM" in line)
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def serve(
    steps: Callable[[int], object],
    about: dict[str, Any],
    *,
    base: int,
    peak: Callable[[], int] = resident_peak,
) -> None:
    """Answer commands until the input ends.

    Args:
        steps: Computes that many steps, to the end.
        about: What the parent is told first: versions, engine, device.
        base: Bytes in use before there was any data: what `peak` gave after the imports.
        peak: Largest number of bytes in use so far.
    """
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print(json.dumps({"about": about}), file=answers)
    for line in sys.stdin:
        command = json.loads(line)
        if "steps" in command:
            steps(command["steps"])
            answer = {"done": command["steps"]}
        else:
            answer = {"peak_bytes": peak() - base}
        print(json.dumps(answer), file=answers)
