"""Sweeps with made-up measurements for the figures: real specs, real rows, seconds to write."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, select

from db.engine import writing
from db.giving_back import fail_pack
from db.leasing import claim_pack, complete_pack
from db.models import configurations
from db.recording import Ended, Lease, Rows, end_seed, note_engine
from db.submission import submit
from db.transitions import finish_sweep, start_sweep
from ngpu_core.config import RunConfig
from service.submission import new_sweep
from sweeps.spec import parse_spec

#: (configuration, seed) -> its rows and the state it ends in; None leaves it running.
Measure = Callable[[RunConfig, int], tuple[Rows, str] | None]


def submitted(engine: Engine, text: str) -> str:
    """A sweep of which nothing has run."""
    with writing(engine) as conn:
        return submit(conn, new_sweep(parse_spec(text, format="yaml")))[0]


def all_failed(engine: Engine, text: str) -> str:
    """A sweep of packs of one whose every seed run has failed."""
    sweep_id = submitted(engine, text)
    with writing(engine) as conn:
        start_sweep(conn, sweep_id)
        while pack := claim_pack(conn, sweep_id, owner="test", epoch=1, lease_seconds=60):
            fail_pack(conn, pack.pack_id, pack.fence, "a fault")
    return sweep_id


def measured(engine: Engine, text: str, measure: Measure) -> str:
    """A sweep whose seeds have all been trained, with the rows given."""
    sweep_id = submitted(engine, text)
    with writing(engine) as conn:
        start_sweep(conn, sweep_id)
        runs = {
            row.id: RunConfig.from_mapping(row.run) for row in conn.execute(select(configurations))
        }
    whole = True
    while True:
        with writing(engine) as conn:
            pack = claim_pack(conn, sweep_id, owner="test", epoch=1, lease_seconds=60)
            if pack is None:
                break
            lease = Lease(pack_id=pack.pack_id, fence=pack.fence, seconds=60)
            note_engine(conn, lease, pack.seeds, engine="native", instruction_set="avx2")
            run = runs[pack.configuration_id]
            for seed in pack.seeds:
                found = measure(run, seed)
                if found is None:
                    whole = False
                    continue
                rows, state = found
                ended = Ended(seed=seed, state=state, step=run.training.max_steps, reason="the end")
                end_seed(conn, lease, rows, ended, wall_seconds=90.0 + seed)
            if found is not None:
                complete_pack(conn, pack.pack_id, pack.fence)
    if whole:
        with writing(engine) as conn:
            finish_sweep(conn, sweep_id)
    return sweep_id


def learned(
    run: RunConfig,
    seed: int,
    *,
    at: float,
    floor: float = 0.0,
    sequences: int = 128,
) -> Rows:
    """A seed that learns around a share of its training, to a floor of error, on all it does.

    Args:
        run: Its configuration.
        seed: The seed, which shifts when it learns.
        at: Share of the steps after which it knows; above 1 it never does.
        floor: Its error then.
        sequences: Of each test.
    """

    def wrong(step: int, of: int, hardness: float) -> int:
        done = step / run.training.max_steps
        known = done >= at * (1 + 0.05 * (seed % 5)) * hardness
        share = floor if known else min(1.0, 1.3 - 0.6 * done / max(at, 0.1))
        return round(of * max(0.0, min(1.0, share)))

    every, epoch = run.evaluation.every, run.training.steps_per_epoch
    last = run.training.max_steps
    tests = sorted({*range(every, last + 1, every), last})
    epochs = sorted({*range(epoch, last + 1, epoch), last})
    return Rows(
        evaluations=[
            {
                "seed": seed, "step": step, "task": task, "length": length, "sequences": sequences,
                "wrong_sequences": wrong(step, sequences, 1 + 0.02 * place + length / 4000),
                "symbols": sequences * length,
                "wrong_symbols": wrong(step, sequences * length // 2, 1 + length / 4000),
            }
            for step in tests
            for place, task in enumerate(run.evaluation_tasks)
            for length in run.evaluation.lengths
        ],
        training_epochs=[
            {
                "seed": seed, "step": step, "task": task, "length": 12, "curriculum_length": 9,
                "loss": 0.5, "sequences": 200, "wrong_sequences": wrong(step, 200, 0.7),
                "symbols": 2000, "wrong_symbols": wrong(step, 1000, 0.7), "learning_rate": 1e-3,
                "pull": 5e-4,
            }
            for step in epochs
            for task in run.training.tasks
        ],
    )  # fmt: skip


def carried(seed: int, task: str, step: int, threshold: int, limit: int) -> Rows:
    """A seed's carry threshold; beyond the limit it is censored there."""
    found = threshold if threshold <= limit else None
    row: dict[str, Any] = {
        "seed": seed, "task": task, "threshold": found, "carry_limit": limit, "step": step,
    }  # fmt: skip
    return Rows(carry_results=[row])
