"""The tables: raw counts and states; `db.views` derives fractions, thresholds and success."""

from enum import StrEnum

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from db.clock import UtcTime
from db.states import (
    Desired,
    EventKind,
    PackState,
    Role,
    SeedState,
    SuccessMetric,
    SuccessWhen,
    SweepState,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite counts up by itself only in a column declared INTEGER.
_Id = BigInteger().with_variant(Integer(), "sqlite")


def _one_of(column: str, states: type[StrEnum]) -> CheckConstraint:
    listed = ", ".join(f"'{state}'" for state in states)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def _counts(kind: str) -> CheckConstraint:
    return CheckConstraint(f"wrong_{kind} >= 0 AND wrong_{kind} <= {kind}", name=f"wrong_{kind}")


def _key(*columns: str) -> PrimaryKeyConstraint:
    """A key that holds the counts too: the tests of a seed lie among those of its companions, so a
    curve would read a page of PostgreSQL's table a test. SQLite's tables are in key order."""
    counts = ["sequences", "wrong_sequences", "symbols", "wrong_symbols"]
    return PrimaryKeyConstraint(*columns, postgresql_include=counts)


def _sweep() -> Column[str]:
    return Column("sweep_id", Text, ForeignKey("sweeps.id"), nullable=False)


def _seed_run() -> Column[int]:
    return Column("seed_run_id", _Id, ForeignKey("seed_runs.id"), primary_key=True)


sweeps = Table(
    "sweeps",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("dedupe_key", Text, nullable=False),
    Column("idempotency_key", Text),
    Column("spec", JSON, nullable=False),
    Column("labels", JSON, nullable=False),
    Column("state", Text, nullable=False),
    Column("desired", Text, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("runner_epoch", Integer, nullable=False),
    Column("success_metric", Text, nullable=False),
    Column("success_length", Integer, nullable=False),
    Column("success_below", Double, nullable=False),
    Column("success_when", Text, nullable=False),
    Column("success_task", Text),
    Column("max_failures", Integer, nullable=False),
    # NULL: the sweep goes on however many of its seed runs fail.
    Column("max_failed_seeds", Integer),
    Column("priority", Integer, nullable=False, server_default="0"),
    # NULL: as many as the cluster holds.
    Column("max_concurrent_trials", Integer),
    Column("cpu", Integer, nullable=False),
    Column("gpu", Double, nullable=False),
    Column("code_version", Text, nullable=False),
    Column("error", Text),
    Column("created_at", UtcTime, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    UniqueConstraint("dedupe_key"),
    UniqueConstraint("idempotency_key"),
    _one_of("state", SweepState),
    _one_of("desired", Desired),
    _one_of("success_metric", SuccessMetric),
    _one_of("success_when", SuccessWhen),
    CheckConstraint("max_failures >= 1", name="max_failures"),
)

configurations = Table(
    "configurations",
    metadata,
    Column("id", _Id, primary_key=True),
    _sweep(),
    Column("position", Integer, nullable=False),
    Column("digest", Text, nullable=False),
    Column("label", Text, nullable=False),
    Column("axes", JSON, nullable=False),
    Column("run", JSON, nullable=False),
    Column("max_steps", Integer, nullable=False),
    UniqueConstraint("sweep_id", "position"),
    Index(None, "digest"),
)

packs = Table(
    "packs",
    metadata,
    Column("id", _Id, primary_key=True),
    _sweep(),
    Column("configuration_id", _Id, ForeignKey("configurations.id"), nullable=False),
    Column("parent_id", _Id, ForeignKey("packs.id")),
    Column("state", Text, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("owner", Text),
    Column("epoch", Integer, nullable=False),
    Column("lease_until", UtcTime),
    Column("progress_at", UtcTime),
    Column("not_before", UtcTime),
    Column("user_attempts", Integer, nullable=False),
    Column("infra_attempts", Integer, nullable=False),
    # Of the infrastructure's faults, those in which the worker lived and got no further.
    Column("stalls", Integer, nullable=False, server_default="0"),
    Column("error", Text),
    _one_of("state", PackState),
    CheckConstraint("state <> 'leased' OR lease_until IS NOT NULL", name="leased"),
    # What a claim looks through, in claim order; done packs leave the index.
    Index(
        "ix_packs_open",
        "sweep_id",
        "id",
        sqlite_where=text("state IN ('pending', 'leased')"),
        postgresql_where=text("state IN ('pending', 'leased')"),
    ),
)

seed_runs = Table(
    "seed_runs",
    metadata,
    Column("id", _Id, primary_key=True),
    _sweep(),
    Column("configuration_id", _Id, ForeignKey("configurations.id"), nullable=False),
    Column("pack_id", _Id, ForeignKey("packs.id"), nullable=False),
    Column("seed", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("steps", Integer, nullable=False),
    Column("max_steps", Integer, nullable=False),
    Column("wall_seconds", Double, nullable=False),
    # Where the current attempt began; wall_seconds counts earlier attempts too.
    Column("attempt_step", Integer, nullable=False),
    Column("attempt_wall_seconds", Double, nullable=False),
    Column("error", Text),
    Column("reason", Text),
    Column("attempts", Integer, nullable=False),
    Column("started_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("code_version", Text, nullable=False),
    Column("host", Text),
    Column("engine", Text),
    Column("instruction_set", Text),
    # The seed run of another sweep whose result it took over; that one may be deleted since.
    Column("reused_from", _Id),
    UniqueConstraint("configuration_id", "seed"),
    _one_of("state", SeedState),
    CheckConstraint("seed >= 0", name="seed"),
    Index(None, "sweep_id", "state"),
    Index(None, "pack_id"),
)

evaluations = Table(
    "evaluations",
    metadata,
    # Length before step: a success rule reads one length over all steps.
    _seed_run(),
    Column("length", Integer, primary_key=True, autoincrement=False),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("task", Text, primary_key=True),
    Column("sequences", BigInteger, nullable=False),
    Column("wrong_sequences", BigInteger, nullable=False),
    Column("symbols", BigInteger, nullable=False),
    Column("wrong_symbols", BigInteger, nullable=False),
    Column("fence", Integer, nullable=False),
    CheckConstraint("sequences >= 1 AND symbols >= 1", name="not_empty"),
    _counts("sequences"),
    _counts("symbols"),
    _key("seed_run_id", "length", "step", "task"),
    sqlite_with_rowid=False,
)

training_epochs = Table(
    "training_epochs",
    metadata,
    _seed_run(),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("task", Text, primary_key=True),
    Column("length", Integer, nullable=False),
    Column("curriculum_length", Integer, nullable=False),
    Column("loss", Double),
    Column("sequences", BigInteger, nullable=False),
    Column("wrong_sequences", BigInteger, nullable=False),
    Column("symbols", BigInteger, nullable=False),
    Column("wrong_symbols", BigInteger, nullable=False),
    Column("learning_rate", Double),
    Column("pull", Double),
    Column("fence", Integer, nullable=False),
    _counts("sequences"),
    _counts("symbols"),
    _key("seed_run_id", "step", "task"),
    sqlite_with_rowid=False,
)

carry_trials = Table(
    "carry_trials",
    metadata,
    _seed_run(),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("task", Text, primary_key=True),
    Column("carry_length", Integer, primary_key=True, autoincrement=False),
    Column("trials", BigInteger, nullable=False),
    Column("wrong", BigInteger, nullable=False),
    Column("fence", Integer, nullable=False),
    CheckConstraint("wrong >= 0 AND wrong <= trials", name="wrong"),
    sqlite_with_rowid=False,
)

carry_results = Table(
    "carry_results",
    metadata,
    _seed_run(),
    Column("task", Text, primary_key=True),
    Column("threshold", Integer),
    Column("carry_limit", Integer, nullable=False),
    Column("step", Integer, nullable=False),
    Column("fence", Integer, nullable=False),
    sqlite_with_rowid=False,
)

probe_results = Table(
    "probe_results",
    metadata,
    _seed_run(),
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("task", Text, primary_key=True),
    Column("probe", Text, primary_key=True),
    Column("point", Integer, primary_key=True, autoincrement=False),
    # The point as people read it.
    Column("label", Text, nullable=False),
    Column("sequences", BigInteger, nullable=False),
    Column("wrong_sequences", BigInteger, nullable=False),
    Column("symbols", BigInteger, nullable=False),
    Column("wrong_symbols", BigInteger, nullable=False),
    # Columns from 0, a number's last digit; NULL: nothing is wrong.
    Column("first_wrong", Integer),
    Column("last_wrong", Integer),
    Column("fence", Integer, nullable=False),
    _counts("sequences"),
    _counts("symbols"),
    sqlite_with_rowid=False,
)

#: Of ended seed runs: the answer to the success rule that stands in the same row (`db.verdicts`).
verdicts = Table(
    "verdicts",
    metadata,
    _seed_run(),
    Column("metric", Text, nullable=False),
    Column("length", Integer, nullable=False),
    Column("below", Double, nullable=False),
    # Empty: the rule reads every task.
    Column("task", Text, nullable=False),
    Column("first_success_step", Integer),
    Column("final_error", Double, nullable=False),
    Column("best_error", Double, nullable=False),
    sqlite_with_rowid=False,
)

checkpoints = Table(
    "checkpoints",
    metadata,
    _seed_run(),
    Column("step", Integer, nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("bytes", BigInteger),
    Column("fence", Integer, nullable=False),
    sqlite_with_rowid=False,
)

events = Table(
    "events",
    metadata,
    Column("sweep_id", Text, ForeignKey("sweeps.id"), primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("body", JSON, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    _one_of("kind", EventKind),
    sqlite_with_rowid=False,
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("sweep_id", Text, ForeignKey("sweeps.id"), primary_key=True),
    # Of the event that is told.
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("attempts", Integer, nullable=False),
    Column("not_before", UtcTime),
    Column("delivered_at", UtcTime),
    Column("error", Text),
    sqlite_with_rowid=False,
)

runners = Table(
    "runners",
    metadata,
    Column("sweep_id", Text, ForeignKey("sweeps.id"), primary_key=True),
    Column("epoch", Integer, nullable=False),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    # The process's own start time: with the pid it names one process for ever.
    Column("pid_started", Double, nullable=False),
    Column("lease_until", UtcTime, nullable=False),
)

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("until", UtcTime, nullable=False),
)

#: What the service made up for itself and keeps: the owner's alone, never readable by a query.
secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

api_tokens = Table(
    "api_tokens",
    metadata,
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("salt", Text, nullable=False),
    Column("hash", Text, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("used_at", UtcTime),
    Column("revoked_at", UtcTime),
    _one_of("role", Role),
)
