"""What a task's name says: operation, base, form. By name alone: the task need not be known."""

import re

_BASES = {"b": 2, "q": 4, "f": 5, "o": 8, "": 10}
_OPERATIONS = {"add": "addition", "mul": "multiplication"}
_NAME = re.compile(
    r"(?P<terms>3|k)?(?P<spaced>s)?(?P<base>[bqfo]?)(?P<operation>add|mul)(?P<form>[etz]*)(?P<dn>_dn)?"
)
_FORMS = {"": "padded", "e": "aligned", "z": "unpadded"}


def _parts(task: str) -> re.Match[str] | None:
    return _NAME.fullmatch(task)


def operation(task: str) -> str | None:
    """`addition` or `multiplication`; None for other tasks."""
    found = _parts(task)
    return None if found is None else _OPERATIONS[found["operation"]]


def base(task: str) -> int | None:
    """The base of an arithmetic task."""
    found = _parts(task)
    return None if found is None else _BASES[found["base"]]


def plain(task: str) -> bool:
    """Whether a task is arithmetic of two padded numbers, drawn at random."""
    found = _parts(task)
    return found is not None and not (found["terms"] or found["spaced"] or found["form"])


def curriculum(tasks: tuple[str, ...]) -> str | None:
    """The bases of a curriculum that ends with decimal multiplication: `2-5-10`; else None."""
    if any(operation(task) != "multiplication" or not plain(task) for task in tasks):
        return None
    bases = [base(task) for task in tasks]
    return "-".join(map(str, bases)) if bases[-1] == 10 else None


def is_several_terms(tasks: tuple[str, ...]) -> bool:
    """Whether a setting multiplies three terms."""
    return any(task.startswith("3") and operation(task) == "multiplication" for task in tasks)


def is_expression(task: str) -> bool:
    """Whether a task evaluates expressions."""
    return re.fullmatch(r"[bq]?expr\w*", task) is not None


def form(task: str) -> str | None:
    """How a task writes two numbers: `padded`, `aligned` or `unpadded`; None for other tasks."""
    found = _parts(task)
    if found is None or found["terms"] or found["spaced"] or found["dn"]:
        return None
    return _FORMS.get(found["form"])
