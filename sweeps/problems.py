"""What is wrong in a document: every problem at once, each with its path and the nearest name."""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

#: Problems reported at most; a document with more is wrong as a whole.
MAX_PROBLEMS = 100


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One thing that is wrong."""

    #: Where, in the document's own keys: `grid.filters.24.model.filtres`. Empty: the document.
    path: str
    #: What is wrong, with the value, and what would be right.
    message: str
    #: The existing name most like the unknown one, as it would be written there.
    nearest: str | None = None

    def __str__(self) -> str:
        hint = f" (did you mean {self.nearest}?)" if self.nearest else ""
        return f"{self.path or 'the document'}: {self.message}{hint}"


class SpecError(ValueError):
    """The document is not a sweep spec; `problems` says everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


class Problems:
    """Collects problems, each once, up to `MAX_PROBLEMS`."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Problem] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    @property
    def full(self) -> bool:
        """Whether it is pointless to look for more."""
        return len(self._found) >= MAX_PROBLEMS

    def add(self, path: str, message: str, nearest: str | None = None) -> None:
        """Note a problem, unless it is known or there are enough."""
        if not self.full:
            problem = Problem(path=path, message=message, nearest=nearest)
            self._found.setdefault((path, message), problem)

    def unknown(self, path: str, kind: str, name: str, known: Iterable[str]) -> str | None:
        """Note that there is no `kind` called `name`; return the nearest of `known`."""
        if self.full:
            return None
        near = nearest(name, known)
        self.add(path, f"there is no {kind} {shown(name)}", near)
        return near

    def raise_if_any(self) -> None:
        """Raise `SpecError` with all of them."""
        if self._found:
            raise SpecError(self._found.values())


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, case aside, or None where nothing comes close."""
    by_lower = {word.lower(): word for word in known}
    matches = get_close_matches(name[:100].lower(), by_lower, n=1, cutoff=0.5)
    return by_lower[matches[0]] if matches else None


def shown(value: object) -> str:
    """A value as a message shows it, in the document's words and cut short."""
    text = repr(value)
    text = {"None": "empty", "True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 80 else f"{text[:77]}..."


def join(path: str, *keys: object) -> str:
    """A path one or more keys deeper; a key too long to be one is cut."""
    names = [str(key)[:100] for key in keys]
    return ".".join([path, *names] if path else names)
