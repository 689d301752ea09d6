"""What must hold after every step, and what when nothing is left to do."""

from tests.service.simulated.world import POISON, STEPS, World

#: Queries that must find nothing, and what it would mean if they did.
BROKEN = {
    "SELECT r.id FROM seed_runs r JOIN packs p ON p.id = r.pack_id WHERE r.state IN "
    "('pending', 'running') AND p.state NOT IN ('pending', 'leased')": "an open seed is nobody's",
    "SELECT r.id FROM seed_runs r JOIN packs p ON p.id = r.pack_id "
    "WHERE r.state = 'running' AND p.state <> 'leased'": "a seed runs that nobody trains",
    "SELECT s.id FROM sweeps s JOIN packs p ON p.sweep_id = s.id WHERE s.state IN "
    "('finished', 'cancelled', 'failed') AND p.state IN ('pending', 'leased')": (
        "an ended sweep has open packs"
    ),
    "SELECT s.id FROM sweeps s WHERE s.state NOT IN ('failed', 'cancelled') "
    "AND s.max_failed_seeds < (SELECT COUNT(*) FROM seed_runs r WHERE r.sweep_id = s.id "
    "AND r.state = 'failed')": "too many seeds have failed",
    "SELECT s.id FROM sweeps s JOIN seed_runs r ON r.sweep_id = s.id WHERE s.state IN "
    "('finished', 'cancelled', 'failed') AND r.state IN ('pending', 'running')": (
        "an ended sweep has open seeds"
    ),
    "SELECT s.id FROM sweeps s JOIN packs p ON p.sweep_id = s.id "
    "WHERE s.state = 'paused' AND p.state = 'leased'": "a paused sweep is trained",
    "SELECT s.id FROM sweeps s WHERE (SELECT COUNT(*) FROM packs p WHERE p.sweep_id = s.id "
    "AND p.state = 'leased') > COALESCE(s.max_concurrent_trials, 1000)": "too many trials",
    "SELECT s.id FROM sweeps s WHERE (SELECT COUNT(*) FROM events e WHERE e.sweep_id = s.id) "
    "<> s.revision": "events have a gap",
    "SELECT r.id FROM seed_runs r JOIN evaluations e ON e.seed_run_id = r.id "
    "WHERE e.step > r.steps": "a row lies beyond its seed's steps",
}


def check(world: World) -> None:
    """The invariants, after every step."""
    for sql, what in BROKEN.items():
        found = world.rows(sql)
        assert not found, f"{what}: {found}"
    for sweep_id, seeds in world.rows("SELECT sweep_id, COUNT(*) FROM seed_runs GROUP BY 1"):
        assert seeds == world.expected[sweep_id], "a seed was lost"
    results = world.rows("SELECT id, state FROM seed_runs WHERE state IN ('finished', 'diverged')")
    for seed_run, state in results:
        assert world.final.setdefault(seed_run, state) == state
    assert len(results) == len(world.final), "a result was taken back"


def check_end(world: World) -> None:
    """Everything has ended, as it must."""
    assert not world.unended(), world.unended()
    assert not world.runners
    assert not world.rows("SELECT 1 FROM seed_runs WHERE state IN ('pending', 'running')")
    poisoned = ", ".join(map(str, POISON))
    assert not world.rows(
        f"SELECT 1 FROM seed_runs WHERE seed IN ({poisoned}) AND state = 'finished'"
    )
    incomplete = world.rows(
        "SELECT r.id, COUNT(e.step) FROM seed_runs r LEFT JOIN evaluations e "
        f"ON e.seed_run_id = r.id WHERE r.state IN ('finished', 'diverged') GROUP BY r.id "
        f"HAVING COUNT(e.step) <> {STEPS}"
    )
    assert not incomplete, "a finished seed has a row for every step"
