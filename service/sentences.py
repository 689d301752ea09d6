"""The sentences the page says about a sweep and its seeds. Pure; rows in, plain text out."""

from collections.abc import Mapping
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
