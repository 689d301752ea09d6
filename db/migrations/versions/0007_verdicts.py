"""What the tests of ended seed runs say to their sweep's success rule, worked out once."""

import sqlalchemy as sa
from alembic import context, op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

FILL = """INSERT INTO verdicts (seed_run_id, metric, length, below, task,
  first_success_step, final_error, best_error)
SELECT seed_run_id, metric, length, below, task,
  MIN(CASE WHEN error < below THEN step END),
  MAX(CASE WHEN step = last_step THEN error END),
  MIN(error)
FROM (
  SELECT r.id AS seed_run_id, s.success_metric AS metric, s.success_length AS length,
    s.success_below AS below, COALESCE(s.success_task, '') AS task, e.step,
    MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN CAST(e.wrong_symbols AS DOUBLE PRECISION) / NULLIF(e.symbols, 0)
      ELSE CAST(e.wrong_sequences AS DOUBLE PRECISION) / NULLIF(e.sequences, 0) END) AS error,
    MAX(e.step) OVER (PARTITION BY r.id) AS last_step
  FROM seed_runs r
  JOIN sweeps s ON s.id = r.sweep_id
  JOIN evaluations e ON e.seed_run_id = r.id AND e.length = s.success_length
    AND (s.success_task IS NULL OR e.task = s.success_task)
  WHERE r.state IN ('finished', 'diverged')
  GROUP BY r.id, s.success_metric, s.success_length, s.success_below, s.success_task, e.step
) judged
GROUP BY seed_run_id, metric, length, below, task"""

#: The keys of what is read most: on PostgreSQL they hold the counts too.
KEYS = {
    "evaluations": "seed_run_id, length, step, task",
    "training_epochs": "seed_run_id, step, task",
}
COUNTS = " INCLUDE (sequences, wrong_sequences, symbols, wrong_symbols)"

#: Copies of the views as of this revision.
SEED_RESULTS = {
    "sqlite": """CREATE VIEW seed_results AS
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
    CASE WHEN k.seed_run_id IS NULL THEN (SELECT e.step
    FROM evaluations e
    WHERE e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step
    HAVING MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN CAST(e.wrong_symbols AS DOUBLE PRECISION) / NULLIF(e.symbols, 0)
      ELSE CAST(e.wrong_sequences AS DOUBLE PRECISION) / NULLIF(e.sequences, 0) END)
      < s.success_below
    ORDER BY e.step LIMIT 1)
      ELSE k.first_success_step END AS first_success_step,
    CASE WHEN k.seed_run_id IS NULL THEN (SELECT MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN CAST(e.wrong_symbols AS DOUBLE PRECISION) / NULLIF(e.symbols, 0)
      ELSE CAST(e.wrong_sequences AS DOUBLE PRECISION) / NULLIF(e.sequences, 0) END)
    FROM evaluations e
    WHERE e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step
    ORDER BY e.step DESC LIMIT 1)
      ELSE k.final_error END AS final_error,
    CASE WHEN k.seed_run_id IS NULL THEN (SELECT MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN CAST(e.wrong_symbols AS DOUBLE PRECISION) / NULLIF(e.symbols, 0)
      ELSE CAST(e.wrong_sequences AS DOUBLE PRECISION) / NULLIF(e.sequences, 0) END)
    FROM evaluations e
    WHERE e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step
    ORDER BY 1 LIMIT 1)
      ELSE k.best_error END AS best_error,
    s.success_length,
    (SELECT MIN(t.threshold) FROM carry_results t WHERE t.seed_run_id = r.id) AS carry_threshold,
    (SELECT MIN(t.carry_limit) FROM carry_results t WHERE t.seed_run_id = r.id) AS carry_limit,
    r.steps, r.max_steps, r.wall_seconds, r.reason, r.error, r.attempts,
    r.started_at, r.finished_at, r.code_version, r.host, r.engine, r.instruction_set,
    r.reused_from
  FROM seed_runs r
  JOIN configurations c ON c.id = r.configuration_id
  JOIN sweeps s ON s.id = r.sweep_id
  LEFT JOIN verdicts k ON k.seed_run_id = r.id AND k.metric = s.success_metric
    AND k.length = s.success_length AND k.below = s.success_below
    AND k.task = COALESCE(s.success_task, '')
) judged""",
    "postgresql": """CREATE VIEW seed_results AS
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
    CASE WHEN k.seed_run_id IS NULL THEN v.first_success_step
      ELSE k.first_success_step END AS first_success_step,
    CASE WHEN k.seed_run_id IS NULL THEN v.final_error
      ELSE k.final_error END AS final_error,
    CASE WHEN k.seed_run_id IS NULL THEN v.best_error
      ELSE k.best_error END AS best_error,
    s.success_length,
    (SELECT MIN(t.threshold) FROM carry_results t WHERE t.seed_run_id = r.id) AS carry_threshold,
    (SELECT MIN(t.carry_limit) FROM carry_results t WHERE t.seed_run_id = r.id) AS carry_limit,
    r.steps, r.max_steps, r.wall_seconds, r.reason, r.error, r.attempts,
    r.started_at, r.finished_at, r.code_version, r.host, r.engine, r.instruction_set,
    r.reused_from
  FROM seed_runs r
  JOIN configurations c ON c.id = r.configuration_id
  JOIN sweeps s ON s.id = r.sweep_id
  LEFT JOIN verdicts k ON k.seed_run_id = r.id AND k.metric = s.success_metric
    AND k.length = s.success_length AND k.below = s.success_below
    AND k.task = COALESCE(s.success_task, '')
  CROSS JOIN LATERAL (
    SELECT
      MIN(CASE WHEN t.error < s.success_below THEN t.step END) AS first_success_step,
      (ARRAY_AGG(t.error ORDER BY t.step DESC))[1] AS final_error,
      MIN(t.error) AS best_error
    FROM (SELECT e.step, MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN CAST(e.wrong_symbols AS DOUBLE PRECISION) / NULLIF(e.symbols, 0)
      ELSE CAST(e.wrong_sequences AS DOUBLE PRECISION) / NULLIF(e.sequences, 0) END) AS error
    FROM evaluations e
    WHERE k.seed_run_id IS NULL
      AND e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step) t
  ) v
) judged""",
}
SUCCESS_FRACTIONS = {
    "sqlite": """CREATE VIEW success_fractions AS
SELECT
  sweep_id, sweep, configuration_id, position, configuration, axes,
  requested, finished, diverged, failed, cancelled, pending, running,
  CAST(n AS INTEGER) AS counted, failed + cancelled AS excluded,
  CAST(k AS INTEGER) AS succeeded, k / NULLIF(n, 0) AS fraction,
  CASE WHEN n = 0 THEN NULL
    WHEN k = 0 THEN CAST(0 AS DOUBLE PRECISION)
    WHEN k = n THEN pow(0.025, 1 / n)
    ELSE (k + 1.9207294103470627
      - 1.959963984540054 * sqrt(k * (n - k) / n + 0.9603647051735313))
      / (n + 3.8414588206941254) END AS low,
  CASE WHEN n = 0 THEN NULL
    WHEN k = n THEN CAST(1 AS DOUBLE PRECISION)
    WHEN k = 0 THEN 1 - pow(0.025, 1 / n)
    ELSE (k + 1.9207294103470627
      + 1.959963984540054 * sqrt(k * (n - k) / n + 0.9603647051735313))
      / (n + 3.8414588206941254) END AS high,
  CAST(k_ever AS INTEGER) AS succeeded_ever, k_ever / NULLIF(n, 0) AS fraction_ever,
  CASE WHEN n = 0 THEN NULL
    WHEN k_ever = 0 THEN CAST(0 AS DOUBLE PRECISION)
    WHEN k_ever = n THEN pow(0.025, 1 / n)
    ELSE (k_ever + 1.9207294103470627
      - 1.959963984540054 * sqrt(k_ever * (n - k_ever) / n + 0.9603647051735313))
      / (n + 3.8414588206941254) END AS low_ever,
  CASE WHEN n = 0 THEN NULL
    WHEN k_ever = n THEN CAST(1 AS DOUBLE PRECISION)
    WHEN k_ever = 0 THEN 1 - pow(0.025, 1 / n)
    ELSE (k_ever + 1.9207294103470627
      + 1.959963984540054 * sqrt(k_ever * (n - k_ever) / n + 0.9603647051735313))
      / (n + 3.8414588206941254) END AS high_ever,
  CAST(k_final AS INTEGER) AS succeeded_final, k_final / NULLIF(n, 0) AS fraction_final,
  CASE WHEN n = 0 THEN NULL
    WHEN k_final = 0 THEN CAST(0 AS DOUBLE PRECISION)
    WHEN k_final = n THEN pow(0.025, 1 / n)
    ELSE (k_final + 1.9207294103470627
      - 1.959963984540054 * sqrt(k_final * (n - k_final) / n + 0.9603647051735313))
      / (n + 3.8414588206941254) END AS low_final,
  CASE WHEN n = 0 THEN NULL
    WHEN k_final = n THEN CAST(1 AS DOUBLE PRECISION)
    WHEN k_final = 0 THEN 1 - pow(0.025, 1 / n)
    ELSE (k_final + 1.9207294103470627
      + 1.959963984540054 * sqrt(k_final * (n - k_final) / n + 0.9603647051735313))
      / (n + 3.8414588206941254) END AS high_final,
  when_rule
FROM (
  SELECT
    counts.*, CASE when_rule WHEN 'ever' THEN k_ever ELSE k_final END AS k
  FROM (
  SELECT
    s.id AS sweep_id, s.name AS sweep, c.id AS configuration_id, c.position,
    c.label AS configuration, c.axes, s.success_when AS when_rule,
    COUNT(r.id) AS requested,
    COUNT(CASE WHEN r.state = 'finished' THEN 1 END) AS finished,
    COUNT(CASE WHEN r.state = 'diverged' THEN 1 END) AS diverged,
    COUNT(CASE WHEN r.state = 'failed' THEN 1 END) AS failed,
    COUNT(CASE WHEN r.state = 'cancelled' THEN 1 END) AS cancelled,
    COUNT(CASE WHEN r.state = 'pending' THEN 1 END) AS pending,
    COUNT(CASE WHEN r.state = 'running' THEN 1 END) AS running,
    CAST(COUNT(CASE WHEN r.state IN ('finished', 'diverged') THEN 1 END)
      AS DOUBLE PRECISION) AS n,
    CAST(COUNT(CASE WHEN r.state = 'finished'
      AND CASE WHEN k.seed_run_id IS NULL THEN (SELECT e.step
    FROM evaluations e
    WHERE e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step
    HAVING MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN CAST(e.wrong_symbols AS DOUBLE PRECISION) / NULLIF(e.symbols, 0)
      ELSE CAST(e.wrong_sequences AS DOUBLE PRECISION) / NULLIF(e.sequences, 0) END)
      < s.success_below
    ORDER BY e.step LIMIT 1)
      ELSE k.first_success_step END IS NOT NULL THEN 1 END)
      AS DOUBLE PRECISION) AS k_ever,
    CAST(COUNT(CASE WHEN r.state = 'finished'
      AND CASE WHEN k.seed_run_id IS NULL THEN (SELECT MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN CAST(e.wrong_symbols AS DOUBLE PRECISION) / NULLIF(e.symbols, 0)
      ELSE CAST(e.wrong_sequences AS DOUBLE PRECISION) / NULLIF(e.sequences, 0) END)
    FROM evaluations e
    WHERE e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step
    ORDER BY e.step DESC LIMIT 1)
      ELSE k.final_error END < s.success_below THEN 1 END)
      AS DOUBLE PRECISION) AS k_final
  FROM configurations c
  JOIN sweeps s ON s.id = c.sweep_id
  LEFT JOIN seed_runs r ON r.configuration_id = c.id
  LEFT JOIN verdicts k ON k.seed_run_id = r.id AND k.metric = s.success_metric
    AND k.length = s.success_length AND k.below = s.success_below
    AND k.task = COALESCE(s.success_task, '')
  GROUP BY s.id, c.id
  ) counts
) ruled""",
    "postgresql": """CREATE VIEW success_fractions AS
SELECT
  sweep_id, sweep, configuration_id, position, configuration, axes,
  requested, finished, diverged, failed, cancelled, pending, running,
  CAST(n AS INTEGER) AS counted, failed + cancelled AS excluded,
  CAST(k AS INTEGER) AS succeeded, k / NULLIF(n, 0) AS fraction,
  CASE WHEN n = 0 THEN NULL
    WHEN k = 0 THEN CAST(0 AS DOUBLE PRECISION)
    WHEN k = n THEN pow(0.025, 1 / n)
    ELSE (k + 1.9207294103470627
      - 1.959963984540054 * sqrt(k * (n - k) / n + 0.9603647051735313))
      / (n + 3.8414588206941254) END AS low,
  CASE WHEN n = 0 THEN NULL
    WHEN k = n THEN CAST(1 AS DOUBLE PRECISION)
    WHEN k = 0 THEN 1 - pow(0.025, 1 / n)
    ELSE (k + 1.9207294103470627
      + 1.959963984540054 * sqrt(k * (n - k) / n + 0.9603647051735313))
      / (n + 3.8414588206941254) END AS high,
  CAST(k_ever AS INTEGER) AS succeeded_ever, k_ever / NULLIF(n, 0) AS fraction_ever,
  CASE WHEN n = 0 THEN NULL
    WHEN k_ever = 0 THEN CAST(0 AS DOUBLE PRECISION)
    WHEN k_ever = n THEN pow(0.025, 1 / n)
    ELSE (k_ever + 1.9207294103470627
      - 1.959963984540054 * sqrt(k_ever * (n - k_ever) / n + 0.9603647051735313))
      / (n + 3.8414588206941254) END AS low_ever,
  CASE WHEN n = 0 THEN NULL
    WHEN k_ever = n THEN CAST(1 AS DOUBLE PRECISION)
    WHEN k_ever = 0 THEN 1 - pow(0.025, 1 / n)
    ELSE (k_ever + 1.9207294103470627
      + 1.959963984540054 * sqrt(k_ever * (n - k_ever) / n + 0.9603647051735313))
      / (n + 3.8414588206941254) END AS high_ever,
  CAST(k_final AS INTEGER) AS succeeded_final, k_final / NULLIF(n, 0) AS fraction_final,
  CASE WHEN n = 0 THEN NULL
    WHEN k_final = 0 THEN CAST(0 AS DOUBLE PRECISION)
    WHEN k_final = n THEN pow(0.025, 1 / n)
    ELSE (k_final + 1.9207294103470627
      - 1.959963984540054 * sqrt(k_final * (n - k_final) / n + 0.9603647051735313))
      / (n + 3.8414588206941254) END AS low_final,
  CASE WHEN n = 0 THEN NULL
    WHEN k_final = n THEN CAST(1 AS DOUBLE PRECISION)
    WHEN k_final = 0 THEN 1 - pow(0.025, 1 / n)
    ELSE (k_final + 1.9207294103470627
      + 1.959963984540054 * sqrt(k_final * (n - k_final) / n + 0.9603647051735313))
      / (n + 3.8414588206941254) END AS high_final,
  when_rule
FROM (
  SELECT
    counts.*, CASE when_rule WHEN 'ever' THEN k_ever ELSE k_final END AS k
  FROM (
  SELECT
    s.id AS sweep_id, s.name AS sweep, c.id AS configuration_id, c.position,
    c.label AS configuration, c.axes, s.success_when AS when_rule,
    COUNT(r.id) AS requested,
    COUNT(CASE WHEN r.state = 'finished' THEN 1 END) AS finished,
    COUNT(CASE WHEN r.state = 'diverged' THEN 1 END) AS diverged,
    COUNT(CASE WHEN r.state = 'failed' THEN 1 END) AS failed,
    COUNT(CASE WHEN r.state = 'cancelled' THEN 1 END) AS cancelled,
    COUNT(CASE WHEN r.state = 'pending' THEN 1 END) AS pending,
    COUNT(CASE WHEN r.state = 'running' THEN 1 END) AS running,
    CAST(COUNT(CASE WHEN r.state IN ('finished', 'diverged') THEN 1 END)
      AS DOUBLE PRECISION) AS n,
    CAST(COUNT(CASE WHEN r.state = 'finished'
      AND CASE WHEN k.seed_run_id IS NULL THEN v.first_success_step
      ELSE k.first_success_step END IS NOT NULL THEN 1 END)
      AS DOUBLE PRECISION) AS k_ever,
    CAST(COUNT(CASE WHEN r.state = 'finished'
      AND CASE WHEN k.seed_run_id IS NULL THEN v.final_error
      ELSE k.final_error END < s.success_below THEN 1 END)
      AS DOUBLE PRECISION) AS k_final
  FROM configurations c
  JOIN sweeps s ON s.id = c.sweep_id
  LEFT JOIN seed_runs r ON r.configuration_id = c.id
  LEFT JOIN verdicts k ON k.seed_run_id = r.id AND k.metric = s.success_metric
    AND k.length = s.success_length AND k.below = s.success_below
    AND k.task = COALESCE(s.success_task, '')
  CROSS JOIN LATERAL (
    SELECT
      MIN(CASE WHEN t.error < s.success_below THEN t.step END) AS first_success_step,
      (ARRAY_AGG(t.error ORDER BY t.step DESC))[1] AS final_error,
      MIN(t.error) AS best_error
    FROM (SELECT e.step, MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN CAST(e.wrong_symbols AS DOUBLE PRECISION) / NULLIF(e.symbols, 0)
      ELSE CAST(e.wrong_sequences AS DOUBLE PRECISION) / NULLIF(e.sequences, 0) END) AS error
    FROM evaluations e
    WHERE k.seed_run_id IS NULL AND r.state = 'finished'
      AND e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step) t
  ) v
  GROUP BY s.id, c.id
  ) counts
) ruled""",
}


def upgrade() -> None:
    op.create_table(
        "verdicts",
        sa.Column("seed_run_id", ID, nullable=False),
        sa.Column("metric", sa.Text(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("below", sa.Double(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("first_success_step", sa.Integer(), nullable=True),
        sa.Column("final_error", sa.Double(), nullable=False),
        sa.Column("best_error", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["seed_run_id"], ["seed_runs.id"], name="fk_verdicts_seed_run_id"),
        sa.PrimaryKeyConstraint("seed_run_id", name="pk_verdicts"),
        sqlite_with_rowid=False,
    )
    op.execute(FILL)
    _make_keys(COUNTS)
    context.script.get_revision("0002").module.downgrade()
    dialect = op.get_bind().dialect.name
    _create_views(SEED_RESULTS[dialect], SUCCESS_FRACTIONS[dialect])


def downgrade() -> None:
    context.script.get_revision("0002").module.downgrade()
    op.drop_table("verdicts")
    _make_keys()
    views = context.script.get_revision("0002").module
    _create_views(_former(), views.SUCCESS_FRACTIONS)


def _make_keys(including: str = "") -> None:
    if op.get_bind().dialect.name == "sqlite":
        return  # its tables are in the order of their keys
    for table, columns in KEYS.items():
        op.execute(
            f"ALTER TABLE {table} DROP CONSTRAINT pk_{table}, "
            f"ADD CONSTRAINT pk_{table} PRIMARY KEY ({columns}){including}"
        )


def _former() -> str:
    """The view as 0004 made it."""
    text = context.script.get_revision("0002").module.SEED_RESULTS[op.get_bind().dialect.name]
    for revision in ("0003", "0004"):
        for before, after in context.script.get_revision(revision).module.LONGER:
            text = text.replace(before, after)
    return text


def _create_views(seed_results: str, success_fractions: str) -> None:
    views = context.script.get_revision("0002").module
    for text in (
        seed_results,
        success_fractions,
        views.CARRY_THRESHOLDS,
        views.LEARNING_CURVES,
        views.FAILURES,
    ):
        op.get_bind().exec_driver_sql(text)
