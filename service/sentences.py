"""The sentences the page says about a sweep and its seeds. Pure; rows in, plain text out."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from service.formats import DASH, THIN, error, number
from service.outcomes import outcome

Row = Mapping[str, Any]

_METRICS = {"sequence_error": "sequence error", "symbol_error": "symbol error"}


def measured(sweep: Row) -> str:
    """What the error is a share of."""
    symbols = sweep["success_metric"] == "symbol_error"
    return "wrong symbols" if symbols else "sequences with any wrong symbol"


def metric(sweep: Row) -> str:
    """The error a sweep's success rule reads, in words."""
    return _METRICS[sweep["success_metric"]]


def bound(sweep: Row) -> str:
    """The success rule's bound as a percentage: ``1 %``."""
    return f"{100 * sweep['success_below']:g}{THIN}%"


def rule(sweep: Row) -> str:
    """The success rule as a sentence."""
    at = "at some test" if sweep["success_when"] == "ever" else "at its last test"
    on = f" on {sweep['success_task']}" if sweep["success_task"] else " on every task tested"
    return (
        f"A seed succeeds if its {metric(sweep)} at length {sweep['success_length']}{on} "
        f"was below {bound(sweep)} {at} ({sweep['success_when']})."
    )


def carry(seed: Row) -> str:
    """A carry threshold in digits: ``36``, or ``> 112`` where it is censored there."""
    if seed["carry_limit"] is None:
        return DASH
    if seed["carry_threshold"] is None:
        return f"> {seed['carry_limit']}"
    return number(seed["carry_threshold"])


def digits(count: int) -> str:
    """A length in digits: ``1 digit``, ``36 digits``."""
    return f"{number(count)} digit{'' if count == 1 else 's'}"


def carries_tested(thresholds: Sequence[Row], fraction: Row) -> str:
    """How many of a configuration's counted seeds a carry chart shows, and where the others are.

    Args:
        thresholds: The rows of `carry_thresholds` of one configuration and task.
        fraction: The configuration's row of `success_fractions`.
    """
    states = Counter(row["state"] for row in thresholds)
    tested = states["finished"] + states["diverged"]
    said = f"{tested} of {fraction['counted']} counted seeds tested"
    if lost := fraction["diverged"] - states["diverged"]:
        said += f"; {lost} diverged before the test"
    if waiting := fraction["running"] + fraction["pending"]:
        said += f"; {waiting} have not ended"
    return f"{said}."


def no_carries(seed: Row) -> str:
    """Why a seed has no error by carry length."""
    limit = seed["run"]["evaluation"]["carry_limit"]
    if not limit:
        return "No carries were tested on this seed: its spec sets no longest carry to try."
    return {
        "diverged": "It diverged before it was tested with carries.",
        "failed": "It failed before it was tested with carries.",
        "cancelled": "It was cancelled before it was tested with carries.",
        "finished": "It was not tested with carries: none of its test tasks adds.",
    }.get(seed["state"], f"Carries of up to {digits(limit)} are tested when it has finished.")


def verdict(seed: Row, sweep: Row) -> str:
    """What became of a seed, as one sentence."""
    name, rule_bound = outcome(seed), bound(sweep)
    at = f"at length {sweep['success_length']}"
    if name == "generalized":
        return (
            f"{metric(sweep).capitalize()} {at} first below {rule_bound} at step "
            f"{number(seed['first_success_step'])}; {error(seed['final_error'])} at the last test."
        )
    if name == "not-generalized":
        return (
            f"Finished without fulfilling the success rule: {metric(sweep)} {at} "
            f"{error(seed['final_error'])} at the last test, {error(seed['best_error'])} at best."
        )
    done = f"step {number(seed['steps'])} of at most {number(seed['max_steps'])}"
    return {
        "diverged": f"Its loss exploded at {done}. It counts as not successful.",
        "failed": f"The program failed at {done}. It is excluded from the fraction.",
        "cancelled": f"Ended by hand at {done}. It is excluded from the fraction.",
        "running": f"Training: {done}.",
        "pending": "Waiting for a free slot.",
    }[name]


def why(seed: Row) -> str:
    """Why a seed run has no success to show: what the training or the program said."""
    return seed["reason"] or seed["error"] or DASH
