"""A record of a given size: sweeps of several shapes, every seed run ended, every test written.

Sweeps are submitted as a user's are; what workers would have measured is then generated inside the
database, from the seed runs' ids alone, so two records of one size hold the same numbers. Rows lie
on disk in the order in which packs of 16 seeds would have written them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, TextClause, func, select, text
from sqlalchemy.exc import ProgrammingError

from db.engine import writing
from db.models import evaluations, seed_runs
from db.submission import submit
from db.verdicts import keep_verdicts
from service import submission
from sweeps.spec import load_spec

SEEDS_A_PACK = 16
#: Tests of a seed run: rows of `evaluations`, whatever the shape.
TESTS = 400
#: Training epochs of a seed run.
EPOCHS = 100
MAX_STEPS = 200_000


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sweeps of one kind."""

    name: str
    #: How many, and of how many configurations each.
    sweeps: int
    configurations: int
    #: The share of all seed runs that one of these sweeps has.
    share: float
    tasks: Sequence[str]
    lengths: Sequence[int]
    #: Longest carry tested; None: carries are not.
    carry_limit: int | None = None

    @property
    def every(self) -> int:
        """Steps between tests: each shape has as many rows a seed run."""
        return MAX_STEPS * len(self.tasks) * len(self.lengths) // TESTS


#: 35 sweeps; the largest has a fifth of all seed runs.
SHAPES = (
    Shape(
        name="one grid, many seeds", sweeps=1, configurations=20, share=0.2,
        tasks=["badd"], lengths=[41, 201],
    ),
    Shape(
        name="a wide grid", sweeps=1, configurations=100, share=0.2,
        tasks=["badd", "baddt"], lengths=[41, 201],
    ),
    Shape(
        name="how far seeds carry", sweeps=1, configurations=1, share=0.1,
        tasks=["badd"], lengths=[201], carry_limit=40,
    ),
    Shape(
        name="figure", sweeps=12, configurations=20, share=0.03,
        tasks=["badd", "baddt"], lengths=[201],
    ),
    Shape(
        name="trial", sweeps=20, configurations=8, share=0.007,
        tasks=["badd"], lengths=[21, 41, 101, 201],
    ),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What a record holds now."""

    sweeps: Mapping[str, str]
    seed_runs: int
    evaluations: int


def fill(
    engine: Engine,
    number: int,
    told: Callable[[str], object],
    shapes: Sequence[Shape] = SHAPES,
) -> Filled:
    """Write about so many seed runs with all their rows into an empty, migrated record.

    Args:
        engine: Of the record.
        number: Seed runs wanted; shares are rounded to whole seeds a configuration.
        told: Called with a line for people before each sweep.
        shapes: Of the sweeps.

    Returns:
        The sweeps' ids by name, and what was counted afterwards.
    """
    named = {}
    for shape in shapes:
        for place in range(shape.sweeps):
            name = shape.name if shape.sweeps == 1 else f"{shape.name} {place + 1}"
            seeds = max(1, round(number * shape.share / shape.configurations))
            told(f"{name}: {shape.configurations} configurations of {seeds} seeds")
            named[name] = _sweep(engine, shape, name, seeds)
    with engine.connect() as conn:
        rows, runs = (
            conn.execute(select(func.count()).select_from(table)).scalar_one()
            for table in (evaluations, seed_runs)
        )
    settle(engine)
    return Filled(sweeps=named, seed_runs=runs, evaluations=rows)


def settle(engine: Engine) -> None:
    """Let the database look at its tables, as it does by itself within minutes."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        statement = "VACUUM ANALYZE" if engine.dialect.name == "postgresql" else "ANALYZE"
        conn.exec_driver_sql(statement)


def spec_of(shape: Shape, name: str, seeds: int) -> dict[str, Any]:
    """The spec a user would submit for it."""
    evaluation = {
        "tasks": [*shape.tasks], "lengths": [*shape.lengths], "sequences": 128,
        "every": shape.every, "carry_limit": shape.carry_limit or 0,
    }  # fmt: skip
    wide = [24 * (1 + place) for place in range(max(1, shape.configurations // 10))]
    rates = [place / 100 for place in range(shape.configurations // len(wide))]
    return {
        "schema_version": 1,
        "name": name,
        "base": {
            "model": {"family": "neural_gpu"},
            "training": {"tasks": [shape.tasks[0]], "max_steps": MAX_STEPS},
            "evaluation": evaluation,
        },
        "grid": {
            "filters": {str(filters): {"model.filters": filters} for filters in wide},
            "dropout": {f"{rate:.2f}": {"training.dropout": rate} for rate in rates},
        },
        "seeds": {"first": 0, "count": seeds},
        "success": {"metric": "sequence_error", "length": 201, "below": 0.01, "when": "ever"},
        "resources": {"seeds_per_trial": SEEDS_A_PACK},
    }


def _sweep(engine: Engine, shape: Shape, name: str, seeds: int) -> str:
    new = submission.new_sweep(load_spec(spec_of(shape, name, seeds)))
    with writing(engine) as conn:
        sweep_id, _ = submit(conn, new, new=True)
    with writing(engine) as conn:
        _prepare(conn)
        _end(conn, sweep_id)
        _measure(conn, sweep_id, shape)
        keep_verdicts(conn, sweep_id)
    return sweep_id


def _prepare(conn: Connection) -> None:
    """Numbers to count with; and no check of references, which are right by construction."""
    conn.exec_driver_sql("CREATE TEMPORARY TABLE IF NOT EXISTS numbers (n INTEGER PRIMARY KEY)")
    numbers = [{"n": n} for n in range(1, 1001)]
    if not conn.execute(text("SELECT COUNT(*) FROM numbers")).scalar_one():
        conn.execute(text("INSERT INTO numbers VALUES (:n)"), numbers)
    if conn.dialect.name == "postgresql":
        conn.exec_driver_sql("ANALYZE numbers")
        conn.exec_driver_sql("SET LOCAL work_mem = '256MB'")
        try:
            with conn.begin_nested():
                conn.exec_driver_sql("SET LOCAL session_replication_role = replica")
        except ProgrammingError:
            return  # not an owner of the server: slower


#: From 0 to 1008, as good as drawn for each seed run.
_LUCK = "((r.id * 7919 + 104729) % 1009)"
#: Whether it learns at all: 6 in 10. The test after which it does, in thousandths of all.
_LEARNS = f"({_LUCK} % 10 < 6)"
_WHEN = f"(100 + {_LUCK} * 7 % 800)"
#: Wrong sequences of 128 at a place n of `of` tests.
_WRONG = f"""CASE WHEN n.n * 1000 < {_WHEN} * :of THEN 128 - ({_LUCK} + n.n * 31) % 9
  WHEN {_LEARNS} THEN CASE WHEN ({_LUCK} + n.n * 7) % 11 = 0 THEN 2 ELSE 0 END
  ELSE 20 + ({_LUCK} + n.n * 13) % 60 END"""

_ENDED = f"""UPDATE seed_runs AS r SET
  state = CASE WHEN {_LUCK} < 970 THEN 'finished' WHEN {_LUCK} < 990 THEN 'diverged'
    ELSE 'failed' END,
  steps = max_steps, wall_seconds = 1000.0 + {_LUCK}, attempts = 1, reason = 'the last step',
  host = 'benchmark', engine = 'native',
  started_at = (SELECT created_at FROM sweeps WHERE id = :sweep),
  finished_at = (SELECT created_at FROM sweeps WHERE id = :sweep)
WHERE sweep_id = :sweep"""

_EVALUATIONS = f"""INSERT INTO evaluations (seed_run_id, length, step, task, sequences,
  wrong_sequences, symbols, wrong_symbols, fence)
SELECT r.id, t.length, n.n * :every, t.task, 128, {_WRONG}, 128 * t.length, 2 * ({_WRONG}), 1
FROM seed_runs r CROSS JOIN numbers n CROSS JOIN (tested) t
WHERE r.configuration_id = :configuration AND n.n <= :of
ORDER BY r.pack_id, n.n, r.seed, t.length, t.task"""

_EPOCHS = f"""INSERT INTO training_epochs (seed_run_id, step, task, length, curriculum_length,
  loss, sequences, wrong_sequences, symbols, wrong_symbols, learning_rate, pull, fence)
SELECT r.id, n.n * :every, :task, 20, 20, ({_WRONG}) / 50.0, 128, {_WRONG}, 2560,
  2 * ({_WRONG}), 0.001, 0.0001, 1
FROM seed_runs r CROSS JOIN numbers n
WHERE r.configuration_id = :configuration AND n.n <= :of
ORDER BY r.pack_id, n.n, r.seed"""

_CARRIES = f"""INSERT INTO carry_trials (seed_run_id, step, task, carry_length, trials, wrong,
  fence)
SELECT r.id, r.max_steps, :task, n.n, 64, CASE WHEN n.n < {_LUCK} % 60 THEN 0 ELSE 60 END, 1
FROM seed_runs r CROSS JOIN numbers n
WHERE r.configuration_id = :configuration AND n.n <= :of
ORDER BY r.id, n.n"""

_THRESHOLDS = f"""INSERT INTO carry_results (seed_run_id, task, threshold, carry_limit, step,
  fence)
SELECT r.id, :task, CASE WHEN {_LUCK} % 60 <= :of THEN 1 + {_LUCK} % 60 END, :of, r.max_steps, 1
FROM seed_runs r WHERE r.configuration_id = :configuration"""


def _end(conn: Connection, sweep_id: str) -> None:
    """Every pack done, every seed run ended: 96 in 100 finished, some diverged, some failed."""
    for statement in (
        _ENDED,
        "UPDATE packs SET state = 'done', fence = 1, epoch = 1 WHERE sweep_id = :sweep",
        "UPDATE sweeps SET state = 'finished', started_at = created_at, finished_at = created_at,"
        " runner_epoch = 1 WHERE id = :sweep",
        "INSERT INTO checkpoints (seed_run_id, step, path, sha256, bytes, fence) SELECT id, steps,"
        " 'benchmark', '0', 1, 1 FROM seed_runs WHERE sweep_id = :sweep AND state = 'finished'",
    ):
        conn.execute(text(statement), {"sweep": sweep_id})


def _tests(shape: Shape) -> TextClause:
    tested = (
        f"SELECT {length} AS length, '{task}' AS task"
        for length in shape.lengths
        for task in shape.tasks
    )
    return text(_EVALUATIONS.replace("tested", " UNION ALL ".join(tested)))


def _measure(conn: Connection, sweep_id: str, shape: Shape) -> None:
    found = text("SELECT id FROM configurations WHERE sweep_id = :sweep ORDER BY id")
    tests = MAX_STEPS // shape.every
    for configuration in conn.execute(found, {"sweep": sweep_id}).scalars().all():
        one: dict[str, Any] = {"configuration": configuration, "task": shape.tasks[0]}
        conn.execute(_tests(shape), one | {"of": tests, "every": shape.every})
        conn.execute(text(_EPOCHS), one | {"of": EPOCHS, "every": MAX_STEPS // EPOCHS})
        if shape.carry_limit:
            carried = one | {"of": shape.carry_limit}
            conn.execute(text(_CARRIES), carried)
            conn.execute(text(_THRESHOLDS), carried)
