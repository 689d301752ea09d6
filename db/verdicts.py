"""What the tests of an ended seed run say to its sweep's success rule, worked out once.

The views would say the same from the tests themselves, and do so where no verdict is kept; but a
sweep of ten thousand seed runs has millions of tests to read. A verdict names the rule it answers:
under another one it counts for nothing. It is written when the seed run ends, in that transaction,
and neither its tests nor the verdict change from there on.
"""

from functools import cache
from typing import Any

from sqlalchemy import Connection, TextClause, text

#: A rule without a task reads the worst one; a key of the verdict cannot be NULL.
EVERY_TASK = ""

_INSERT = """INSERT INTO verdicts (seed_run_id, metric, length, below, task,
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
  WHERE {whose} AND r.state IN ('finished', 'diverged')
    AND NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.seed_run_id = r.id)
  GROUP BY r.id, s.success_metric, s.success_length, s.success_below, s.success_task, e.step
) judged
GROUP BY seed_run_id, metric, length, below, task"""


def keep_verdict(conn: Connection, seed_run_id: int) -> None:
    """Write the verdict on a seed run that has ended; it has none yet, and gets none untested."""
    _keep(conn, "r.id = :whose", seed_run_id)


def keep_verdicts(conn: Connection, sweep_id: str) -> None:
    """Write the verdicts on a sweep's ended seed runs that have none."""
    _keep(conn, "r.sweep_id = :whose", sweep_id)


def _keep(conn: Connection, condition: str, whose: Any) -> None:
    conn.execute(_keeping(condition), {"whose": whose})


@cache
def _keeping(condition: str) -> TextClause:
    return text(_INSERT.format(whose=condition))
