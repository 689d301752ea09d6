"""Questions to start from on the SQL page; docs/sql.md has them among others."""

EXAMPLES: tuple[tuple[str, str], ...] = (
    (
        "What must be said beside every fraction",
        """SELECT configuration, requested, finished, diverged, failed, cancelled,
       pending + running AS open
FROM success_fractions
WHERE excluded > 0 OR pending + running > 0
ORDER BY sweep_id, position""",
    ),
    (
        "Success by one axis of the grid",
        """SELECT axes ->> 'filters' AS filters,
       COUNT(CASE WHEN succeeded THEN 1 END) AS succeeded,
       COUNT(succeeded) AS counted
FROM seed_results
GROUP BY axes ->> 'filters'
ORDER BY filters""",
    ),
    (
        "Right at some test, wrong at the last",
        """SELECT configuration, COUNT(*) AS lost_again
FROM seed_results
WHERE succeeded_ever AND NOT succeeded_final
GROUP BY configuration
ORDER BY lost_again DESC""",
    ),
    (
        "How far seeds carry",
        """SELECT configuration, threshold, censored, COUNT(*) AS seeds
FROM carry_thresholds
GROUP BY configuration, threshold, censored
ORDER BY configuration, censored, threshold""",
    ),
    (
        "What a step costs, by machine",
        """SELECT host, AVG(wall_seconds / steps) AS seconds_per_step, COUNT(*) AS seed_runs
FROM seed_results
WHERE steps > 0
GROUP BY host""",
    ),
    (
        "What breaks most often",
        """SELECT state, COALESCE(reason, error) AS why, COUNT(*) AS seed_runs
FROM failures
GROUP BY state, COALESCE(reason, error)
ORDER BY seed_runs DESC""",
    ),
)
