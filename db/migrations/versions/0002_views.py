"""The views, as of this revision: a copy, so that later changes do not rewrite history."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

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
  code_version, host
FROM (
  SELECT
    r.id AS seed_run_id, r.sweep_id, s.name AS sweep, r.configuration_id,
    c.label AS configuration, c.axes, r.seed, r.state, s.success_when, s.success_below,
    (SELECT e.step
    FROM evaluations e
    WHERE e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step
    HAVING MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN CAST(e.wrong_symbols AS DOUBLE PRECISION) / NULLIF(e.symbols, 0)
      ELSE CAST(e.wrong_sequences AS DOUBLE PRECISION) / NULLIF(e.sequences, 0) END)
      < s.success_below
    ORDER BY e.step LIMIT 1) AS first_success_step,
    (SELECT MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN CAST(e.wrong_symbols AS DOUBLE PRECISION) / NULLIF(e.symbols, 0)
      ELSE CAST(e.wrong_sequences AS DOUBLE PRECISION) / NULLIF(e.sequences, 0) END)
    FROM evaluations e
    WHERE e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step
    ORDER BY e.step DESC LIMIT 1) AS final_error,
    (SELECT MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN CAST(e.wrong_symbols AS DOUBLE PRECISION) / NULLIF(e.symbols, 0)
      ELSE CAST(e.wrong_sequences AS DOUBLE PRECISION) / NULLIF(e.sequences, 0) END)
    FROM evaluations e
    WHERE e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step
    ORDER BY 1 LIMIT 1) AS best_error,
    s.success_length,
    (SELECT MIN(t.threshold) FROM carry_results t WHERE t.seed_run_id = r.id) AS carry_threshold,
    (SELECT MIN(t.carry_limit) FROM carry_results t WHERE t.seed_run_id = r.id) AS carry_limit,
    r.steps, r.max_steps, r.wall_seconds, r.reason, r.error, r.attempts,
    r.started_at, r.finished_at, r.code_version, r.host
  FROM seed_runs r
  JOIN configurations c ON c.id = r.configuration_id
  JOIN sweeps s ON s.id = r.sweep_id
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
  code_version, host
FROM (
  SELECT
    r.id AS seed_run_id, r.sweep_id, s.name AS sweep, r.configuration_id,
    c.label AS configuration, c.axes, r.seed, r.state, s.success_when, s.success_below,
    v.first_success_step, v.final_error, v.best_error,
    s.success_length,
    (SELECT MIN(t.threshold) FROM carry_results t WHERE t.seed_run_id = r.id) AS carry_threshold,
    (SELECT MIN(t.carry_limit) FROM carry_results t WHERE t.seed_run_id = r.id) AS carry_limit,
    r.steps, r.max_steps, r.wall_seconds, r.reason, r.error, r.attempts,
    r.started_at, r.finished_at, r.code_version, r.host
  FROM seed_runs r
  JOIN configurations c ON c.id = r.configuration_id
  JOIN sweeps s ON s.id = r.sweep_id
  CROSS JOIN LATERAL (
    SELECT
      MIN(CASE WHEN t.error < s.success_below THEN t.step END) AS first_success_step,
      (ARRAY_AGG(t.error ORDER BY t.step DESC))[1] AS final_error,
      MIN(t.error) AS best_error
    FROM (SELECT e.step, MAX(CASE s.success_metric WHEN 'symbol_error'
      THEN CAST(e.wrong_symbols AS DOUBLE PRECISION) / NULLIF(e.symbols, 0)
      ELSE CAST(e.wrong_sequences AS DOUBLE PRECISION) / NULLIF(e.sequences, 0) END) AS error
    FROM evaluations e
    WHERE e.seed_run_id = r.id AND e.length = s.success_length
      AND (s.success_task IS NULL OR e.task = s.success_task)
    GROUP BY e.step) t
  ) v
) judged""",
}

SUCCESS_FRACTIONS = """CREATE VIEW success_fractions AS
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
    s.id AS sweep_id, s.name AS sweep, c.id AS configuration_id, c.position,
    c.label AS configuration, c.axes, s.success_when AS when_rule,
    COUNT(r.seed_run_id) AS requested,
    COUNT(CASE WHEN r.state = 'finished' THEN 1 END) AS finished,
    COUNT(CASE WHEN r.state = 'diverged' THEN 1 END) AS diverged,
    COUNT(CASE WHEN r.state = 'failed' THEN 1 END) AS failed,
    COUNT(CASE WHEN r.state = 'cancelled' THEN 1 END) AS cancelled,
    COUNT(CASE WHEN r.state = 'pending' THEN 1 END) AS pending,
    COUNT(CASE WHEN r.state = 'running' THEN 1 END) AS running,
    CAST(COUNT(CASE WHEN r.state IN ('finished', 'diverged') THEN 1 END)
      AS DOUBLE PRECISION) AS n,
    CAST(COUNT(CASE WHEN r.succeeded THEN 1 END) AS DOUBLE PRECISION) AS k,
    CAST(COUNT(CASE WHEN r.succeeded_ever THEN 1 END) AS DOUBLE PRECISION) AS k_ever,
    CAST(COUNT(CASE WHEN r.succeeded_final THEN 1 END) AS DOUBLE PRECISION) AS k_final
  FROM configurations c
  JOIN sweeps s ON s.id = c.sweep_id
  LEFT JOIN seed_results r ON r.configuration_id = c.id
  GROUP BY s.id, c.id
) counts"""

CARRY_THRESHOLDS = """CREATE VIEW carry_thresholds AS
SELECT
  r.sweep_id, s.name AS sweep, r.configuration_id, c.label AS configuration,
  r.id AS seed_run_id, r.seed, r.state,
  t.task, t.threshold, t.carry_limit, t.threshold IS NULL AS censored, t.step
FROM seed_runs r
JOIN configurations c ON c.id = r.configuration_id
JOIN sweeps s ON s.id = r.sweep_id
JOIN carry_results t ON t.seed_run_id = r.id"""

LEARNING_CURVES = """CREATE VIEW learning_curves AS
SELECT
  r.sweep_id, s.name AS sweep, r.configuration_id, c.label AS configuration,
  r.id AS seed_run_id, r.seed, 'training' AS kind, m.step, m.task, m.length,
  CAST(m.wrong_sequences AS DOUBLE PRECISION) / NULLIF(m.sequences, 0) AS sequence_error,
  CAST(m.wrong_symbols AS DOUBLE PRECISION) / NULLIF(m.symbols, 0) AS symbol_error,
  m.loss, m.learning_rate, m.curriculum_length
FROM seed_runs r
JOIN configurations c ON c.id = r.configuration_id
JOIN sweeps s ON s.id = r.sweep_id
JOIN training_epochs m ON m.seed_run_id = r.id
UNION ALL
SELECT
  r.sweep_id, s.name AS sweep, r.configuration_id, c.label AS configuration,
  r.id AS seed_run_id, r.seed, 'test' AS kind, m.step, m.task, m.length,
  CAST(m.wrong_sequences AS DOUBLE PRECISION) / NULLIF(m.sequences, 0) AS sequence_error,
  CAST(m.wrong_symbols AS DOUBLE PRECISION) / NULLIF(m.symbols, 0) AS symbol_error,
  CAST(NULL AS DOUBLE PRECISION), CAST(NULL AS DOUBLE PRECISION), CAST(NULL AS INTEGER)
FROM seed_runs r
JOIN configurations c ON c.id = r.configuration_id
JOIN sweeps s ON s.id = r.sweep_id
JOIN evaluations m ON m.seed_run_id = r.id"""

FAILURES = """CREATE VIEW failures AS
SELECT
  r.sweep_id, s.name AS sweep, r.configuration_id, c.label AS configuration,
  r.id AS seed_run_id, r.seed, r.state,
  r.steps, r.max_steps, r.reason, r.error, r.attempts, r.finished_at, r.host
FROM seed_runs r
JOIN configurations c ON c.id = r.configuration_id
JOIN sweeps s ON s.id = r.sweep_id
WHERE r.state IN ('diverged', 'failed', 'cancelled')"""


def upgrade() -> None:
    connection = op.get_bind()
    connection.exec_driver_sql(SEED_RESULTS[connection.dialect.name])
    for text in (SUCCESS_FRACTIONS, CARRY_THRESHOLDS, LEARNING_CURVES, FAILURES):
        connection.exec_driver_sql(text)


def downgrade() -> None:
    connection = op.get_bind()
    for view in (
        "failures",
        "learning_curves",
        "carry_thresholds",
        "success_fractions",
        "seed_results",
    ):
        connection.exec_driver_sql(f"DROP VIEW {view}")
