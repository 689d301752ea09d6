"""The views: the public SQL interface, the same columns and numbers on SQLite and PostgreSQL.

They have a MetaData of their own, so that Alembic does not take them for tables. All but one text
run unchanged on both engines: doubles are written `CAST(… AS DOUBLE PRECISION)` and truth values as
conditions. `pow` and `sqrt` need an SQLite built with its mathematical functions, as the
distributions' `sqlite3` and Python's are.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
)

from db.clock import UtcTime

metadata = MetaData()

# Of a 95 % interval: z, the normal distribution's 97.5 % point, its square, half and a quarter of
# that; and the share of one tail.
_Z, _Z2 = "1.959963984540054", "3.8414588206941254"
_Z2_HALF, _Z2_QUARTER = "1.9207294103470627", "0.9603647051735313"
_TAIL = "0.025"


def _share(wrong: str, of: str) -> str:
    return f"CAST({wrong} AS DOUBLE PRECISION) / NULLIF({of}, 0)"


# The error the success rule reads at one step: that of the task which does worst, so "every task
# below" is "the worst task below". Correlated: a question about one sweep reads only its rows.
_WORST = f"""MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN {_share("e.wrong_symbols", "e.symbols")}
      ELSE {_share("e.wrong_sequences", "e.sequences")} END)"""
_JUDGED = """FROM evaluations e
    WHERE e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step"""

# A verdict that answers the sweep's rule (`db.verdicts`), else the tests themselves. PostgreSQL
# would work out each scalar subquery again wherever its column is named, and SQLite has no LATERAL:
# the one part of the views that is written twice.
_KEPT = """LEFT JOIN verdicts k ON k.seed_run_id = r.id AND k.metric = s.success_metric
    AND k.length = s.success_length AND k.below = s.success_below
    AND k.task = COALESCE(s.success_task, '')"""


_DERIVED = {
    "sqlite": {
        "first_success_step": f"""(SELECT e.step
    {_JUDGED}
    HAVING {_WORST}
      < s.success_below
    ORDER BY e.step LIMIT 1)""",
        "final_error": f"""(SELECT {_WORST}
    {_JUDGED}
    ORDER BY e.step DESC LIMIT 1)""",
        "best_error": f"""(SELECT {_WORST}
    {_JUDGED}
    ORDER BY 1 LIMIT 1)""",
    },
    "postgresql": {
        name: f"v.{name}" for name in ("first_success_step", "final_error", "best_error")
    },
}


def _answer(dialect: str, column: str) -> str:
    return f"""CASE WHEN k.seed_run_id IS NULL THEN {_DERIVED[dialect][column]}
      ELSE k.{column} END"""


def _with_answers(dialect: str, only: str = "") -> str:
    """What to join to `r`, a seed run, and `s`, its sweep, for `_answer`."""
    if dialect == "sqlite":
        return _KEPT
    judged = _JUDGED.replace("WHERE ", f"WHERE k.seed_run_id IS NULL{only}\n      AND ")
    return f"""{_KEPT}
  CROSS JOIN LATERAL (
    SELECT
      MIN(CASE WHEN t.error < s.success_below THEN t.step END) AS first_success_step,
      (ARRAY_AGG(t.error ORDER BY t.step DESC))[1] AS final_error,
      MIN(t.error) AS best_error
    FROM (SELECT e.step, {_WORST} AS error
    {judged}) t
  ) v"""


def _seed_results(dialect: str) -> str:
    answers = ",\n    ".join(f"{_answer(dialect, name)} AS {name}" for name in _DERIVED[dialect])
    return f"""CREATE VIEW seed_results AS
SELECT
  seed_run_id, sweep_id, sweep, configuration_id, configuration, axes, seed, state,
  CASE state
    WHEN 'finished' THEN
      CASE success_when WHEN 'ever' THEN first_success_step IS NOT NULL
        ELSE COALESCE(final_error < success_below, 1 = 0) END
    WHEN 'diverged' THEN 1 = 0 END AS succeeded,
  CASE state WHEN 'finished' THEN first_success_step IS NOT NULL
    WHEN 'diverged' THEN 1 = 0 END AS succeeded_ever,
  CASE state WHEN 'finished' THEN COALESCE(final_error < success_below, 1 = 0)
    WHEN 'diverged' THEN 1 = 0 END AS succeeded_final,
  first_success_step, final_error, best_error, success_length, carry_threshold, carry_limit,
  steps, max_steps, wall_seconds, reason, error, attempts, started_at, finished_at,
  code_version, host, engine, instruction_set, reused_from
FROM (
  SELECT
    r.id AS seed_run_id, r.sweep_id, s.name AS sweep, r.configuration_id,
    c.label AS configuration, c.axes, r.seed, r.state, s.success_when, s.success_below,
    {answers},
    s.success_length,
    (SELECT MIN(t.threshold) FROM carry_results t WHERE t.seed_run_id = r.id) AS carry_threshold,
    (SELECT MIN(t.carry_limit) FROM carry_results t WHERE t.seed_run_id = r.id) AS carry_limit,
    r.steps, r.max_steps, r.wall_seconds, r.reason, r.error, r.attempts,
    r.started_at, r.finished_at, r.code_version, r.host, r.engine, r.instruction_set,
    r.reused_from
  FROM seed_runs r
  JOIN configurations c ON c.id = r.configuration_id
  JOIN sweeps s ON s.id = r.sweep_id
  {_with_answers(dialect)}
) judged"""


def _low(k: str) -> str:
    """Lower end of a 95 % interval for k of n: Wilson, and Clopper–Pearson at 0 and n."""
    return f"""CASE WHEN n = 0 THEN NULL
    WHEN {k} = 0 THEN CAST(0 AS DOUBLE PRECISION)
    WHEN {k} = n THEN pow({_TAIL}, 1 / n)
    ELSE ({k} + {_Z2_HALF}
      - {_Z} * sqrt({k} * (n - {k}) / n + {_Z2_QUARTER}))
      / (n + {_Z2}) END"""


def _high(k: str) -> str:
    """Upper end of the same interval."""
    return f"""CASE WHEN n = 0 THEN NULL
    WHEN {k} = n THEN CAST(1 AS DOUBLE PRECISION)
    WHEN {k} = 0 THEN 1 - pow({_TAIL}, 1 / n)
    ELSE ({k} + {_Z2_HALF}
      + {_Z} * sqrt({k} * (n - {k}) / n + {_Z2_QUARTER}))
      / (n + {_Z2}) END"""


def _fraction(k: str, suffix: str) -> str:
    return f"""CAST({k} AS INTEGER) AS succeeded{suffix}, {k} / NULLIF(n, 0) AS fraction{suffix},
  {_low(k)} AS low{suffix},
  {_high(k)} AS high{suffix}"""


def _number(state: str) -> str:
    return f"COUNT(CASE WHEN r.state = '{state}' THEN 1 END) AS {state}"


def _successes(condition: str, name: str) -> str:
    return f"""CAST(COUNT(CASE WHEN r.state = 'finished'
      AND {condition} THEN 1 END)
      AS DOUBLE PRECISION) AS {name}"""


def _success_fractions(dialect: str) -> str:
    ever = f"{_answer(dialect, 'first_success_step')} IS NOT NULL"
    final = f"{_answer(dialect, 'final_error')} < s.success_below"
    return f"""CREATE VIEW success_fractions AS
SELECT
  sweep_id, sweep, configuration_id, position, configuration, axes,
  requested, finished, diverged, failed, cancelled, pending, running,
  CAST(n AS INTEGER) AS counted, failed + cancelled AS excluded,
  {_fraction("k", "")},
  {_fraction("k_ever", "_ever")},
  {_fraction("k_final", "_final")},
  when_rule
FROM (
  SELECT
    counts.*, CASE when_rule WHEN 'ever' THEN k_ever ELSE k_final END AS k
  FROM (
  SELECT
    s.id AS sweep_id, s.name AS sweep, c.id AS configuration_id, c.position,
    c.label AS configuration, c.axes, s.success_when AS when_rule,
    COUNT(r.id) AS requested,
    {_number("finished")},
    {_number("diverged")},
    {_number("failed")},
    {_number("cancelled")},
    {_number("pending")},
    {_number("running")},
    CAST(COUNT(CASE WHEN r.state IN ('finished', 'diverged') THEN 1 END)
      AS DOUBLE PRECISION) AS n,
    {_successes(ever, "k_ever")},
    {_successes(final, "k_final")}
  FROM configurations c
  JOIN sweeps s ON s.id = c.sweep_id
  LEFT JOIN seed_runs r ON r.configuration_id = c.id
  {_with_answers(dialect, only=" AND r.state = 'finished'")}
  GROUP BY s.id, c.id
  ) counts
) ruled"""


_WHOSE = """r.sweep_id, s.name AS sweep, r.configuration_id, c.label AS configuration,
  r.id AS seed_run_id, r.seed"""
_RUNS = """JOIN configurations c ON c.id = r.configuration_id
JOIN sweeps s ON s.id = r.sweep_id"""

CARRY_THRESHOLDS = f"""CREATE VIEW carry_thresholds AS
SELECT
  {_WHOSE}, r.state,
  t.task, t.threshold, t.carry_limit, t.threshold IS NULL AS censored, t.step
FROM seed_runs r
{_RUNS}
JOIN carry_results t ON t.seed_run_id = r.id"""

PROBE_ERRORS = f"""CREATE VIEW probe_errors AS
SELECT
  {_WHOSE}, r.state,
  p.task, p.probe, p.point, p.label, p.sequences, p.wrong_sequences,
  {_share("p.wrong_sequences", "p.sequences")} AS sequence_error,
  p.symbols, p.wrong_symbols,
  {_share("p.wrong_symbols", "p.symbols")} AS symbol_error,
  p.first_wrong, p.last_wrong, p.step
FROM seed_runs r
{_RUNS}
JOIN probe_results p ON p.seed_run_id = r.id"""

_ERRORS = f"""{_share("m.wrong_sequences", "m.sequences")} AS sequence_error,
  {_share("m.wrong_symbols", "m.symbols")} AS symbol_error"""

LEARNING_CURVES = f"""CREATE VIEW learning_curves AS
SELECT
  {_WHOSE}, 'training' AS kind, m.step, m.task, m.length,
  {_ERRORS},
  m.loss, m.learning_rate, m.curriculum_length
FROM seed_runs r
{_RUNS}
JOIN training_epochs m ON m.seed_run_id = r.id
UNION ALL
SELECT
  {_WHOSE}, 'test' AS kind, m.step, m.task, m.length,
  {_ERRORS},
  CAST(NULL AS DOUBLE PRECISION), CAST(NULL AS DOUBLE PRECISION), CAST(NULL AS INTEGER)
FROM seed_runs r
{_RUNS}
JOIN evaluations m ON m.seed_run_id = r.id"""

FAILURES = f"""CREATE VIEW failures AS
SELECT
  {_WHOSE}, r.state,
  r.steps, r.max_steps, r.reason, r.error, r.attempts, r.finished_at, r.host
FROM seed_runs r
{_RUNS}
WHERE r.state IN ('diverged', 'failed', 'cancelled')"""


def texts(dialect: str) -> dict[str, str]:
    """The views of `sqlite` or `postgresql` in the order they are created."""
    return {
        "seed_results": _seed_results(dialect),
        "success_fractions": _success_fractions(dialect),
        "carry_thresholds": CARRY_THRESHOLDS,
        "learning_curves": LEARNING_CURVES,
        "failures": FAILURES,
        "probe_errors": PROBE_ERRORS,
    }


def create_views(conn: Connection) -> None:
    """Create the views on tables that exist."""
    for text in texts(conn.dialect.name).values():
        conn.exec_driver_sql(text)


def _whose() -> list[Column]:
    return [
        Column("sweep_id", Text),
        Column("sweep", Text),
        Column("configuration_id", BigInteger),
        Column("configuration", Text),
        Column("seed_run_id", BigInteger),
        Column("seed", Integer),
    ]


seed_results = Table(
    "seed_results",
    metadata,
    Column("seed_run_id", BigInteger),
    Column("sweep_id", Text),
    Column("sweep", Text),
    Column("configuration_id", BigInteger),
    Column("configuration", Text),
    Column("axes", JSON),
    Column("seed", Integer),
    Column("state", Text),
    Column("succeeded", Boolean),
    Column("succeeded_ever", Boolean),
    Column("succeeded_final", Boolean),
    Column("first_success_step", Integer),
    Column("final_error", Double),
    Column("best_error", Double),
    Column("success_length", Integer),
    Column("carry_threshold", Integer),
    Column("carry_limit", Integer),
    Column("steps", Integer),
    Column("max_steps", Integer),
    Column("wall_seconds", Double),
    Column("reason", Text),
    Column("error", Text),
    Column("attempts", Integer),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("code_version", Text),
    Column("host", Text),
    Column("engine", Text),
    Column("instruction_set", Text),
    Column("reused_from", BigInteger),
)

success_fractions = Table(
    "success_fractions",
    metadata,
    Column("sweep_id", Text),
    Column("sweep", Text),
    Column("configuration_id", BigInteger),
    Column("position", Integer),
    Column("configuration", Text),
    Column("axes", JSON),
    Column("requested", Integer),
    Column("finished", Integer),
    Column("diverged", Integer),
    Column("failed", Integer),
    Column("cancelled", Integer),
    Column("pending", Integer),
    Column("running", Integer),
    Column("counted", Integer),
    Column("excluded", Integer),
    Column("succeeded", Integer),
    Column("fraction", Double),
    Column("low", Double),
    Column("high", Double),
    Column("succeeded_ever", Integer),
    Column("fraction_ever", Double),
    Column("low_ever", Double),
    Column("high_ever", Double),
    Column("succeeded_final", Integer),
    Column("fraction_final", Double),
    Column("low_final", Double),
    Column("high_final", Double),
    Column("when_rule", Text),
)

carry_thresholds = Table(
    "carry_thresholds",
    metadata,
    *_whose(),
    Column("state", Text),
    Column("task", Text),
    Column("threshold", Integer),
    Column("carry_limit", Integer),
    Column("censored", Boolean),
    Column("step", Integer),
)

learning_curves = Table(
    "learning_curves",
    metadata,
    *_whose(),
    Column("kind", Text),
    Column("step", Integer),
    Column("task", Text),
    Column("length", Integer),
    Column("sequence_error", Double),
    Column("symbol_error", Double),
    Column("loss", Double),
    Column("learning_rate", Double),
    Column("curriculum_length", Integer),
)

failures = Table(
    "failures",
    metadata,
    *_whose(),
    Column("state", Text),
    Column("steps", Integer),
    Column("max_steps", Integer),
    Column("reason", Text),
    Column("error", Text),
    Column("attempts", Integer),
    Column("finished_at", UtcTime),
    Column("host", Text),
)

probe_errors = Table(
    "probe_errors",
    metadata,
    *_whose(),
    Column("state", Text),
    Column("task", Text),
    Column("probe", Text),
    Column("point", Integer),
    Column("label", Text),
    Column("sequences", BigInteger),
    Column("wrong_sequences", BigInteger),
    Column("sequence_error", Double),
    Column("symbols", BigInteger),
    Column("wrong_symbols", BigInteger),
    Column("symbol_error", Double),
    Column("first_wrong", Integer),
    Column("last_wrong", Integer),
    Column("step", Integer),
)
