"""The tables of docs/spec.md, written from the code: `python -m sweeps.reference docs/spec.md`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic_core import PydanticUndefined

from ngpu_core.config import FAMILY_DEFAULTS
from sweeps.keys import ConfigKey, key_table, sections
from sweeps.spec import SweepSpec
from sweeps.terms import Resources, Retry, Schedule, Seeds, Success, Terms

BEGIN = "<!-- written by python -m sweeps.reference: begin -->"
END = "<!-- end -->"

#: The families beside the one whose defaults are the dataclasses'.
_OTHERS = [family for family in FAMILY_DEFAULTS if family != "neural_gpu"]

_PARTS: dict[str, type[Terms]] = {
    "the spec": SweepSpec,
    "seeds": Seeds,
    "success": Success,
    "resources": Resources,
    "schedule": Schedule,
    "retry": Retry,
}


def tables() -> str:
    """Every key of a spec with its defaults and meaning, as Markdown."""
    lines: list[str] = []
    for name, model in _PARTS.items():
        lines += ["", f"### {name}", "", "| key | default | meaning |", "|---|---|---|"]
        lines += _terms(model)
    for section in sections():
        lines += ["", f"### base: {section}", ""]
        lines += [f"| key | default | {' | '.join(map('`{}`'.format, _OTHERS))} | meaning |"]
        lines += [f"|---|---|{'---|' * len(_OTHERS)}---|"]
        lines += [_row(key) for key in key_table().values() if key.section == section]
    return "\n".join([BEGIN, *lines, "", END])


def rewritten(text: str) -> str:
    """A document with its tables as they should be."""
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    return before + tables() + after


def _terms(model: type[Terms]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        required = default is PydanticUndefined
        shown = "" if isinstance(default, Terms) or required else f"`{_text(default)}`"
        if required and name not in ("success", "length"):
            shown = "required"
        yield f"| `{name}` | {shown} | {field.description} |"


def _row(key: ConfigKey) -> str:
    cells = " | ".join(_differing(key, family) for family in _OTHERS)
    return f"| `{key.name}` | `{_text(key.default)}` | {cells} | {key.description} |"


def _differing(key: ConfigKey, family: str) -> str:
    """A family's own default, where it has one."""
    if key.name == "training.learning_rate" and family == "diagonal_neural_gpu":
        return "`0.48 / filters`"
    other = FAMILY_DEFAULTS[family].get(key.name)
    return "" if other is None else f"`{_text(other)}`"


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.4g}"
    return "null" if value is None else str(value)


def main() -> None:
    """Rewrite the tables of the document named on the command line."""
    path = Path(sys.argv[1])
    path.write_text(rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
