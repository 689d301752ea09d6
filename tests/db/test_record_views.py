"""The views' numbers against a recomputation in Python, the same on both databases."""

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record import LENGTH, ask, claimed, end, epoch, evaluation, lease_of, new_sweep, submitted
from scipy.stats import binomtest
from sqlalchemy import Engine, select

from db import queries
from db.bands import curve_bands
from db.engine import reading, writing
from db.giving_back import fail_pack
from db.leasing import claim_pack
from db.models import sweeps
from db.recording import Ended, Rows, end_seed, write_rows
from db.submission import cancel, submit
from ngpu_core.statistics import fraction_interval

SEQUENCES, SYMBOLS = 8, 16
TASKS = ("badd", "baddt")
#: Lengths tested beside the one the rule reads.
OTHER_LENGTH = 41


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One drawn evaluation."""

    step: int
    task: str
    length: int
    wrong_sequences: int
    wrong_symbols: int


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One drawn success rule."""

    metric: str
    below: float
    when: str
    task: str | None


evaluations = st.lists(
    st.builds(
        Measured,
        step=st.sampled_from([100, 200, 300]),
        task=st.sampled_from(TASKS),
        length=st.sampled_from([LENGTH, OTHER_LENGTH]),
        wrong_sequences=st.integers(0, SEQUENCES),
        wrong_symbols=st.integers(0, SYMBOLS),
    ),
    unique_by=lambda one: (one.step, one.task, one.length),
    max_size=8,
)
rules = st.builds(
    Rule,
    metric=st.sampled_from(["sequence_error", "symbol_error"]),
    below=st.sampled_from([0.125, 0.3, 0.5, 1.0]),
    when=st.sampled_from(["ever", "final"]),
    task=st.sampled_from([None, *TASKS]),
)
fates = st.sampled_from(["finished", "finished", "diverged", "failed", "running", "pending"])


def _worst_by_step(tests: list[Measured], rule: Rule) -> dict[int, float]:
    """Step -> the largest error of any task the rule reads, in the order of steps."""
    judged = [one for one in tests if one.length == LENGTH and rule.task in (None, one.task)]
    worst: dict[int, float] = {}
    for one in sorted(judged, key=lambda one: one.step):
        error = (
            one.wrong_sequences / SEQUENCES
            if rule.metric == "sequence_error"
            else one.wrong_symbols / SYMBOLS
        )
        worst[one.step] = max(worst.get(one.step, 0.0), error)
    return worst


def _expected(tests: list[Measured], rule: Rule, fate: str) -> dict[str, Any]:
    worst = _worst_by_step(tests, rule)
    hits = [step for step, error in worst.items() if error < rule.below]
    final = list(worst.values())[-1] if worst else None
    ever, last = bool(hits), final is not None and final < rule.below
    known = {"finished": True, "diverged": False}.get(fate)
    return {
        "state": fate,
        "first_success_step": min(hits, default=None),
        "best_error": min(worst.values(), default=None),
        "final_error": final,
        "succeeded_ever": known and ever,
        "succeeded_final": known and last,
        "succeeded": known and (ever if rule.when == "ever" else last),
    }


def _row(seed: int, one: Measured) -> dict[str, Any]:
    return {
        "seed": seed,
        "step": one.step,
        "task": one.task,
        "length": one.length,
        "sequences": SEQUENCES,
        "wrong_sequences": one.wrong_sequences,
        "symbols": SYMBOLS,
        "wrong_symbols": one.wrong_symbols,
    }


def _recorded(engine: Engine, runs: list[tuple[list[Measured], str]], rule: Rule) -> str:
    """A sweep with these seed runs, each in the state drawn for it, through the real functions."""
    # Pending ones last: packs are claimed in order.
    with writing(engine) as conn:
        spec = new_sweep(
            seeds=len(runs),
            max_failures=1,
            success_metric=rule.metric,
            success_below=rule.below,
            success_when=rule.when,
            success_task=rule.task,
        )
        sweep_id, _ = submit(conn, spec)
        for seed, (tests, fate) in enumerate(runs):
            if fate == "pending":
                break
            pack = claim_pack(conn, sweep_id, owner="t", epoch=1, lease_seconds=30)
            assert pack is not None
            rows = Rows(evaluations=[_row(seed, one) for one in tests])
            write_rows(conn, lease_of(pack), rows, steps={seed: 300}, wall_seconds=3.0)
            if fate in ("finished", "diverged"):
                ended = Ended(seed=seed, state=fate, step=300, reason="drawn")
                end_seed(conn, lease_of(pack), Rows(), ended, wall_seconds=3.0)
            elif fate == "failed":
                fail_pack(conn, pack.pack_id, pack.fence, "drawn")
    return sweep_id


@given(
    runs=st.lists(st.tuples(evaluations, fates), min_size=1, max_size=6).map(
        lambda runs: sorted(runs, key=lambda run: run[1] == "pending")
    ),
    rule=rules,
)
def test_success_is_what_the_rule_says(
    engine: Engine, runs: list[tuple[list[Measured], str]], rule: Rule
) -> None:
    sweep_id = _recorded(engine, runs, rule)
    found = ask(engine, queries.seeds, sweep_id).items
    expected = [_expected([] if fate == "pending" else tests, rule, fate) for tests, fate in runs]
    assert [{key: row[key] for key in expected[0]} for row in found] == expected

    [row] = ask(engine, queries.success, sweep_id)
    fate_counts = [fate for _, fate in runs]
    assert row["requested"] == len(runs)
    for state in ("finished", "diverged", "failed", "cancelled", "running", "pending"):
        assert row[state] == fate_counts.count(state)
    counted = row["finished"] + row["diverged"]
    assert (row["counted"], row["excluded"]) == (counted, row["failed"] + row["cancelled"])
    assert row["when_rule"] == rule.when
    for suffix in ("", "_ever", "_final"):
        successes = sum(bool(one[f"succeeded{suffix}"]) for one in expected)
        assert row[f"succeeded{suffix}"] == successes
        _assert_interval(row, suffix, successes, counted)


def _assert_interval(row: dict[str, Any], suffix: str, successes: int, counted: int) -> None:
    ends = row[f"low{suffix}"], row[f"fraction{suffix}"], row[f"high{suffix}"]
    if counted == 0:
        assert ends == (None, None, None)
        return
    interval = fraction_interval(successes, counted)
    assert ends == pytest.approx((interval.low, successes / counted, interval.high), abs=1e-12)


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (1, 1), (0, 17), (17, 17), (5, 17), (1, 300)])
def test_intervals_are_wilsons_and_at_the_ends_the_exact_ones(
    engine: Engine, successes: int, n: int
) -> None:
    sweep_id = submitted(engine, seeds=n, together=n)
    pack = claimed(engine, sweep_id)
    passed = [evaluation(seed, 100, wrong=0) for seed in range(successes)]
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), Rows(evaluations=passed), steps={}, wall_seconds=1.0)
        for seed in range(n):
            ended = Ended(seed=seed, state="finished", step=100, reason="drawn")
            end_seed(conn, lease_of(pack), Rows(), ended, wall_seconds=1.0)
    [row] = ask(engine, queries.success, sweep_id)
    method = "exact" if successes in (0, n) else "wilson"
    truth = binomtest(successes, n).proportion_ci(0.95, method=method)
    assert (row["low"], row["high"]) == pytest.approx((truth.low, truth.high), abs=1e-12)


def test_every_view_names_its_sweep_configuration_and_seed(engine: Engine) -> None:
    sweep_id = submitted(engine, configurations=2, seeds=1)
    for position, threshold in ((0, 7), (1, None)):
        pack = claimed(engine, sweep_id)
        carried = {"seed": 0, "step": 100, "task": "badd", "threshold": threshold}
        rows = Rows(
            evaluations=[evaluation(0, 100, wrong=64)],
            training_epochs=[epoch(0, 100)],
            carry_results=[{**carried, "carry_limit": 20}],
        )
        with writing(engine) as conn:
            write_rows(conn, lease_of(pack), rows, steps={0: 100}, wall_seconds=1.0)
        end(engine, pack, 0, "diverged" if position else "finished", 100)
    first, second = ask(engine, queries.thresholds, sweep_id)
    assert (first["threshold"], first["censored"], first["carry_limit"]) == (7, False, 20)
    assert (second["threshold"], second["censored"]) == (None, True)
    assert [row["configuration"] for row in (first, second)] == ["24 · classical", "48 · classical"]
    shown = ask(engine, queries.seeds, sweep_id).items
    assert [(row["carry_threshold"], row["carry_limit"]) for row in shown] == [(7, 20), (None, 20)]
    assert shown[0]["axes"] == {"filters": "24", "variant": "classical"}
    [failure] = ask(engine, queries.failures, sweep_id).items
    assert (failure["state"], failure["reason"]) == ("diverged", "the last step")
    test, training = ask(
        engine, queries.curves, sweep_id, configuration_id=first["configuration_id"]
    )
    assert (test["kind"], test["sequence_error"], test["loss"]) == ("test", 0.5, None)
    assert (training["kind"], training["sequence_error"], training["loss"]) == (
        "training",
        0.25,
        0.5,
    )
    assert training["symbol_error"] == 0.1
    assert (training["learning_rate"], training["curriculum_length"]) == (0.001, 9)


def test_axes_are_questions_too(engine: Engine) -> None:
    sweep_id = submitted(engine, configurations=2, seeds=3)
    with engine.connect() as conn:
        found = conn.exec_driver_sql(
            "SELECT axes ->> 'filters' AS filters, count(*) FROM seed_results "
            f"WHERE sweep_id = '{sweep_id}' GROUP BY axes ->> 'filters' ORDER BY 1"
        )
        assert [tuple(row) for row in found] == [("24", 3), ("48", 3)]


def test_a_cancelled_sweep_counts_what_was_known(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=3)
    end(engine, claimed(engine, sweep_id), 0)
    with writing(engine) as conn:
        cancel(conn, sweep_id)
    [row] = ask(engine, queries.success, sweep_id)
    assert (row["requested"], row["counted"], row["excluded"]) == (3, 1, 2)
    assert (row["cancelled"], row["succeeded"], row["fraction"]) == (2, 0, 0.0)


@settings(max_examples=15)
@given(
    errors=st.lists(st.integers(0, 128), min_size=1, max_size=9),
    level=st.sampled_from([("low", 0.1), ("median", 0.5), ("high", 0.9)]),
)
def test_bands_are_numpys_quantiles(
    engine: Engine, errors: list[int], level: tuple[str, float]
) -> None:
    import numpy as np

    sweep_id = submitted(engine, seeds=len(errors), together=len(errors))
    pack = claimed(engine, sweep_id)
    rows = [evaluation(seed, 100, wrong=wrong) for seed, wrong in enumerate(errors)]
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), Rows(evaluations=rows), steps={}, wall_seconds=1.0)
    [band] = ask(engine, curve_bands, sweep_id)
    column, share = level
    assert band[column] == pytest.approx(np.quantile(np.array(errors) / 128, share), abs=1e-12)
    assert (band["seeds"], band["step"], band["length"]) == (len(errors), 100, LENGTH)


def test_training_bands_join_seeds_at_different_lengths(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2, together=2)
    pack = claimed(engine, sweep_id)
    rows = Rows(training_epochs=[epoch(0, 200, length=8), epoch(1, 200, length=16, loss=1.5)])
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), rows, steps={}, wall_seconds=1.0)
    [band] = ask(engine, curve_bands, sweep_id, kind="training", metric="loss")
    assert (band["length"], band["seeds"], band["median"]) == (None, 2, 1.0)
    with pytest.raises(ValueError, match="metric is 'accuracy': must be one of"):
        ask(engine, curve_bands, sweep_id, metric="accuracy")


def test_a_band_over_tasks_counts_each_seed_with_its_worst(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=2, together=2)
    pack = claimed(engine, sweep_id)
    wrong = {(0, "badd"): 0, (0, "baddt"): 64, (1, "badd"): 128, (1, "baddt"): 32}
    rows = [evaluation(seed, 100, wrong=n, task=task) for (seed, task), n in wrong.items()]
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), Rows(evaluations=rows), steps={}, wall_seconds=1.0)
    [band] = ask(engine, curve_bands, sweep_id, worst_task=True)
    assert (band["task"], band["seeds"], band["median"]) == (None, 2, 0.75)
    assert [band["median"] for band in ask(engine, curve_bands, sweep_id)] == [0.5, 0.375]


def test_a_changed_rule_is_judged_again_without_training(engine: Engine) -> None:
    sweep_id = submitted(engine, seeds=1)
    pack = claimed(engine, sweep_id)
    rows = Rows(evaluations=[evaluation(0, 100, wrong=12)])
    with writing(engine) as conn:
        write_rows(conn, lease_of(pack), rows, steps={}, wall_seconds=1.0)
    end(engine, pack, 0)
    assert ask(engine, queries.success, sweep_id)[0]["succeeded"] == 0
    with writing(engine) as conn:
        conn.execute(sweeps.update().values(success_below=0.1))
    assert ask(engine, queries.success, sweep_id)[0]["succeeded"] == 1
    with reading(engine) as conn:
        assert conn.execute(select(sweeps.c.success_below)).scalar_one() == 0.1
