"""The 34 cases of the fault matrix: what each is, and the tests elsewhere that hold it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the matrix."""

    number: int
    fault: str
    #: What must hold.
    aim: str
    #: Tests elsewhere that run it, wholly or besides those of this folder.
    elsewhere: tuple[str, ...] = ()
    #: What is not run, and why that is right or not possible here.
    reason: str = ""


SIMULATION = "tests/service/test_simulation.py"
TRIAL = "tests/sweeps/test_trial.py"
GIVING_BACK = "tests/db/test_record_giving_back.py"

CASES = (
    Case(
        number=1,
        fault="The web process dies during submissions",
        aim="0 or 1 sweep an idempotency key; up again in seconds",
    ),
    Case(
        number=2,
        fault="The web process dies under listeners",
        aim="each listener has every event once, in order",
        elsewhere=("tests/service/test_sse.py",),
    ),
    Case(
        number=3,
        fault="The scheduler dies",
        aim="a new one goes on; on a cluster of its own a runner is adopted, no step trained twice",
        elsewhere=(
            "tests/service/test_faults.py::"
            "test_a_runner_on_a_cluster_of_its_own_outlives_its_scheduler_and_is_adopted",
        ),
    ),
    Case(
        number=4,
        fault="Two schedulers",
        aim="one leads; never two live runners of a sweep",
        elsewhere=(SIMULATION,),
    ),
    Case(
        number=5,
        fault="The runner is killed again and again",
        aim="recovery ≤ 10 s; re-execution ≤ one checkpoint interval",
        elsewhere=("tests/service/test_faults.py",),
    ),
    Case(
        number=6,
        fault="A worker dies by SIGKILL, SIGSEGV, SIGABRT",
        aim="recovery ≤ 10 s; nothing charged",
    ),
    Case(
        number=7,
        fault="A worker stands still beyond its lease and comes back",
        aim="its late writes change nothing",
        elsewhere=(
            "tests/db/test_record_leasing.py::"
            "test_a_worker_thought_dead_can_do_nothing_when_it_comes_back",
        ),
    ),
    Case(
        number=8,
        fault="The raylet alone dies",
        aim="noticed and recovered ≤ 30 s where it is the only node",
        elsewhere=("tests/cluster/",),
    ),
    Case(
        number=9,
        fault="A node is lost with its workers",
        aim="its packs go on elsewhere ≤ 10 s after it is noticed",
        elsewhere=("tests/cluster/",),
    ),
    Case(
        number=10,
        fault="A node is cut off for 5 s and for 60 s, and returns",
        aim="5 s: nothing happens; 60 s: its packs move; no result changes",
        elsewhere=("tests/cluster/",),
    ),
    Case(
        number=11,
        fault="Notice that a machine is taken away",
        aim="a checkpoint first, the pack given back uncharged",
        reason="The notice itself is the cloud's: what is run is the SIGTERM that its script sends "
        "to the workers. A machine that goes without one is case 9.",
    ),
    Case(number=12, fault="The head dies: GCS server or keeper", aim="all goes on ≤ 30 s"),
    Case(
        number=13,
        fault="The head returns with its state kept (RocksDB)",
        aim="no attempt used up",
        reason="Not used: Ray calls it alpha. The record is the state, so the head may forget "
        "everything (cases 12 and 14), at the price of one checkpoint interval trained again.",
    ),
    Case(number=14, fault="All of Ray dies", aim="resumes by itself"),
    Case(
        number=15,
        fault="PostgreSQL dies 5 times under load",
        aim="no row lost or doubled; the API answers 503 with Retry-After, never 500",
    ),
    Case(
        number=16,
        fault="PostgreSQL is away for 5 minutes",
        aim="workers wait, no attempt used up",
        elsewhere=("tests/service/test_recording.py",),
    ),
    Case(
        number=17,
        fault="Sessions ended, deadlocks",
        aim="tried again, invisible to the sweep",
    ),
    Case(number=18, fault="No connection is left", aim="back-off, no row lost"),
    Case(
        number=19,
        fault="SQLite locked; disk full",
        aim="waits, says so, goes on when there is space",
        reason="A file system that turns read-only is not run: remounting one refuses while the "
        "record is open. `ngpu doctor` names a folder that cannot be written.",
    ),
    Case(
        number=20,
        fault="A checkpoint is cut short, altered or gone",
        aim="refused by its checksum; the pack starts anew",
        elsewhere=(f"{TRIAL}::test_a_damaged_checkpoint_is_named_and_its_pack_starts_anew",),
    ),
    Case(
        number=21,
        fault="Death between a checkpoint's file and its row, and right after",
        aim="the pointer is right; the rows are the undisturbed run's",
        elsewhere=(
            f"{TRIAL}::test_a_trial_killed_at_any_writes_and_resumed_leaves_the_rows_of_an_"
            "undisturbed_one",
        ),
    ),
    Case(
        number=22,
        fault="One seed of a pack of 32 is poison",
        aim="31 finished, 1 failed, ≤ 6 rounds",
        elsewhere=(f"{GIVING_BACK}::test_a_poison_seed_is_isolated_and_its_companions_finish",),
    ),
    Case(
        number=23,
        fault="Out of memory",
        aim="the pack is trained in parts",
        elsewhere=(
            "tests/sweeps/test_trial_memory.py::"
            "test_memory_that_the_system_refuses_splits_a_pack_that_then_finishes",
        ),
        reason="The memory is the system's, under RLIMIT_AS; a GPU's was not at hand here.",
    ),
    Case(
        number=24,
        fault="A training hangs",
        aim="taken away, its process ended; the others go on",
        elsewhere=(
            "tests/service/test_faults.py::"
            "test_a_hung_training_loses_its_pack_and_its_process_ends",
        ),
    ),
    Case(
        number=25,
        fault="A metric is not a number",
        aim="stored as NULL, valid JSON",
        elsewhere=(
            "tests/service/test_api_results.py::test_numbers_that_are_not_finite_are_null",
            f"{TRIAL}::test_a_diverged_seed_is_a_result_without_a_checkpoint",
        ),
    ),
    Case(
        number=26,
        fault="Cancel at random moments, also without a scheduler",
        aim="no row after its commit; the processor is free ≤ 10 s",
        elsewhere=(SIMULATION,),
    ),
    Case(
        number=27,
        fault="Pause, resume, extend, stop, retry in the middle",
        aim="the rows of the undisturbed run",
        elsewhere=(SIMULATION, "tests/service/test_faults.py"),
    ),
    Case(
        number=28,
        fault="Clocks set by ± 1 h",
        aim="no lease lost",
        reason="All times of leases are the database's (`db/clock.py`). On SQLite that is this "
        "machine's own clock: see *What is not promised*.",
    ),
    Case(
        number=29,
        fault="A sweep of 2000 seeds × 200 configurations",
        aim="submitted and claimed in bounded time",
        elsewhere=("benchmarks/scheduling.py", "benchmarks/queries.py"),
        reason="A load, not a fault: measured as a benchmark.",
    ),
    Case(
        number=30,
        fault="Every address, every sequence of requests",
        aim="no 5xx, no answer against the schema",
        elsewhere=("tests/service/test_contract.py",),
    ),
    Case(
        number=31,
        fault="Attacks through the SQL editor",
        aim="nothing written, ≤ 2 s, bounded memory",
        elsewhere=("tests/db/test_console.py", "tests/service/test_sql.py"),
    ),
    Case(number=32, fault="No network", aim="works with loopback alone"),
    Case(
        number=33,
        fault="The service is replaced, the schema upgraded, with sweeps running",
        aim="nothing lost, nothing counted as a fault",
        elsewhere=(
            "tests/db/test_migrations.py::"
            "test_a_record_is_upgraded_while_a_sweep_of_the_old_code_is_being_read",
        ),
        reason="Runners of one schema do not write to the next: the service is ended in order, the "
        "record upgraded, the service started.",
    ),
    Case(
        number=34,
        fault="All of it at random for an hour",
        aim="all of the above; ≤ 1.5 × the undisturbed time",
        elsewhere=("tests/soak/",),
    ),
)
