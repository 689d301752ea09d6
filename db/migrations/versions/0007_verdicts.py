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

#: A copy of the view as of this revision.
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
    WHERE k.seed_run_id IS NULL AND e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step) t
  ) v
) judged""",
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
    context.script.get_revision("0002").module.downgrade()
    _create_views(SEED_RESULTS[op.get_bind().dialect.name])


def downgrade() -> None:
    context.script.get_revision("0002").module.downgrade()
    op.drop_table("verdicts")
    _create_views(_former())


def _former() -> str:
    """The view as 0004 made it."""
    text = context.script.get_revision("0002").module.SEED_RESULTS[op.get_bind().dialect.name]
    for revision in ("0003", "0004"):
        for before, after in context.script.get_revision(revision).module.LONGER:
            text = text.replace(before, after)
    return text


def _create_views(seed_results: str) -> None:
    views = context.script.get_revision("0002").module
    for text in (
        seed_results,
        views.SUCCESS_FRACTIONS,
        views.CARRY_THRESHOLDS,
        views.LEARNING_CURVES,
        views.FAILURES,
    ):
        op.get_bind().exec_driver_sql(text)
