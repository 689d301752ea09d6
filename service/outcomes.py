"""What became of a seed run, as the page colours it: one word a seed, each with a sentence.

And where a sweep stands, in one word.
"""

from collections.abc import Mapping
from typing import Any

#: The words, in the order of the legend, and what each says.
OUTCOMES: Mapping[str, str] = {
    "generalized": "finished and fulfils the success rule",
    "not-generalized": "finished and does not fulfil it",
    "diverged": "its loss exploded: counted as not successful",
    "failed": "the program failed on it: excluded from the fraction",
    "running": "training now",
    "pending": "waiting for a free slot",
    "cancelled": "ended by hand: excluded from the fraction",
}


def outcome(seed: Mapping[str, Any]) -> str:
    """The outcome of one row of `seed_results`."""
    if seed["state"] != "finished":
        return str(seed["state"])
    return "generalized" if seed["succeeded"] else "not-generalized"


def standing(sweep: Mapping[str, Any]) -> str:
    """A sweep's state, or where it is on its way to: ``pausing``, ``stopping``."""
    on_its_way = {"pause": "pausing", "stop": "stopping"}
    if sweep["state"] in ("queued", "running"):
        return on_its_way.get(sweep["desired"], str(sweep["state"]))
    return str(sweep["state"])


def outcome_words(name: str) -> str:
    """An outcome as the page writes it: ``did not generalize``."""
    return {"not-generalized": "did not generalize", "pending": "waiting"}.get(name, name)
