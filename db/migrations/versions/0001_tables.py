"""The tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")

GUARD = "terminal_seed_runs_are_immutable"
TERMINAL_CHANGES = """OLD.state IN ('finished', 'diverged')
  OR (OLD.state IN ('failed', 'cancelled') AND NEW.state <> 'pending')"""
GUARDS = {
    "sqlite": (
        f"""CREATE TRIGGER {GUARD} BEFORE UPDATE ON seed_runs
WHEN {TERMINAL_CHANGES}
BEGIN SELECT RAISE(ABORT, 'a terminal seed run is immutable'); END""",
    ),
    "postgresql": (
        f"""CREATE FUNCTION {GUARD}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a terminal seed run is immutable' USING ERRCODE = 'check_violation';
END $$""",
        f"""CREATE TRIGGER {GUARD} BEFORE UPDATE ON seed_runs
FOR EACH ROW WHEN ({TERMINAL_CHANGES})
EXECUTE FUNCTION {GUARD}()""",
    ),
}


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.create_table(
        "sweeps",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("dedupe_key", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("desired", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("runner_epoch", sa.Integer(), nullable=False),
        sa.Column("success_metric", sa.Text(), nullable=False),
        sa.Column("success_length", sa.Integer(), nullable=False),
        sa.Column("success_below", sa.Double(), nullable=False),
        sa.Column("success_when", sa.Text(), nullable=False),
        sa.Column("success_task", sa.Text(), nullable=True),
        sa.Column("max_failures", sa.Integer(), nullable=False),
        sa.Column("cpu", sa.Integer(), nullable=False),
        sa.Column("gpu", sa.Double(), nullable=False),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.CheckConstraint("desired IN ('run', 'cancel')", name=op.f("ck_sweeps_desired")),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'finished', 'cancelled', 'failed')",
            name=op.f("ck_sweeps_state"),
        ),
        sa.CheckConstraint(
            "success_metric IN ('sequence_error', 'symbol_error')",
            name=op.f("ck_sweeps_success_metric"),
        ),
        sa.CheckConstraint(
            "success_when IN ('ever', 'final')", name=op.f("ck_sweeps_success_when")
        ),
        sa.CheckConstraint("max_failures >= 1", name=op.f("ck_sweeps_max_failures")),
        sa.PrimaryKeyConstraint("id", name="pk_sweeps"),
        sa.UniqueConstraint("dedupe_key", name="uq_sweeps_dedupe_key"),
        sa.UniqueConstraint("idempotency_key", name="uq_sweeps_idempotency_key"),
    )
    op.create_table(
        "configurations",
        sa.Column("id", ID, nullable=False),
        sa.Column("sweep_id", sa.Text(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("axes", sa.JSON(), nullable=False),
        sa.Column("run", sa.JSON(), nullable=False),
        sa.Column("max_steps", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name="fk_configurations_sweep_id"),
        sa.PrimaryKeyConstraint("id", name="pk_configurations"),
        sa.UniqueConstraint("sweep_id", "position", name="uq_configurations_sweep_id_position"),
    )
    op.create_index("ix_configurations_digest", "configurations", ["digest"], unique=False)
    op.create_table(
        "events",
        sa.Column("sweep_id", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.CheckConstraint(
            "kind IN ("
            "'submitted', 'started', 'finished', 'cancelled', "
            "'failed', 'retried', 'extended', 'pack_split', 'pack_failed')",
            name=op.f("ck_events_kind"),
        ),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name="fk_events_sweep_id"),
        sa.PrimaryKeyConstraint("sweep_id", "revision", name="pk_events"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "runners",
        sa.Column("sweep_id", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("pid_started", sa.Double(), nullable=False),
        sa.Column("lease_until", TIME, nullable=False),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name="fk_runners_sweep_id"),
        sa.PrimaryKeyConstraint("sweep_id", name="pk_runners"),
    )
    op.create_table(
        "packs",
        sa.Column("id", ID, nullable=False),
        sa.Column("sweep_id", sa.Text(), nullable=False),
        sa.Column("configuration_id", ID, nullable=False),
        sa.Column("parent_id", ID, nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("lease_until", TIME, nullable=True),
        sa.Column("progress_at", TIME, nullable=True),
        sa.Column("not_before", TIME, nullable=True),
        sa.Column("user_attempts", sa.Integer(), nullable=False),
        sa.Column("infra_attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state <> 'leased' OR lease_until IS NOT NULL", name=op.f("ck_packs_leased")
        ),
        sa.CheckConstraint(
            "state IN ('pending', 'leased', 'done', 'failed', 'cancelled', 'split')",
            name=op.f("ck_packs_state"),
        ),
        sa.ForeignKeyConstraint(
            ["configuration_id"], ["configurations.id"], name="fk_packs_configuration_id"
        ),
        sa.ForeignKeyConstraint(["parent_id"], ["packs.id"], name="fk_packs_parent_id"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name="fk_packs_sweep_id"),
        sa.PrimaryKeyConstraint("id", name="pk_packs"),
    )
    op.create_index(
        "ix_packs_open",
        "packs",
        ["sweep_id", "id"],
        unique=False,
        sqlite_where=sa.text("state IN ('pending', 'leased')"),
        postgresql_where=sa.text("state IN ('pending', 'leased')"),
    )
    op.create_table(
        "seed_runs",
        sa.Column("id", ID, nullable=False),
        sa.Column("sweep_id", sa.Text(), nullable=False),
        sa.Column("configuration_id", ID, nullable=False),
        sa.Column("pack_id", ID, nullable=False),
        sa.Column("seed", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("max_steps", sa.Integer(), nullable=False),
        sa.Column("wall_seconds", sa.Double(), nullable=False),
        sa.Column("attempt_step", sa.Integer(), nullable=False),
        sa.Column("attempt_wall_seconds", sa.Double(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("started_at", TIME, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("code_version", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state IN ('pending', 'running', 'finished', 'diverged', 'failed', 'cancelled')",
            name=op.f("ck_seed_runs_state"),
        ),
        sa.CheckConstraint("seed >= 0", name=op.f("ck_seed_runs_seed")),
        sa.ForeignKeyConstraint(
            ["configuration_id"], ["configurations.id"], name="fk_seed_runs_configuration_id"
        ),
        sa.ForeignKeyConstraint(["pack_id"], ["packs.id"], name="fk_seed_runs_pack_id"),
        sa.ForeignKeyConstraint(["sweep_id"], ["sweeps.id"], name="fk_seed_runs_sweep_id"),
        sa.PrimaryKeyConstraint("id", name="pk_seed_runs"),
        sa.UniqueConstraint("configuration_id", "seed", name="uq_seed_runs_configuration_id_seed"),
    )
    op.create_index("ix_seed_runs_pack_id", "seed_runs", ["pack_id"], unique=False)
    op.create_index("ix_seed_runs_sweep_id_state", "seed_runs", ["sweep_id", "state"], unique=False)
    op.create_table(
        "carry_results",
        sa.Column("seed_run_id", ID, nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("threshold", sa.Integer(), nullable=True),
        sa.Column("carry_limit", sa.Integer(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["seed_run_id"], ["seed_runs.id"], name="fk_carry_results_seed_run_id"
        ),
        sa.PrimaryKeyConstraint("seed_run_id", "task", name="pk_carry_results"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "carry_trials",
        sa.Column("seed_run_id", ID, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("carry_length", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("trials", sa.BigInteger(), nullable=False),
        sa.Column("wrong", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.CheckConstraint("wrong >= 0 AND wrong <= trials", name=op.f("ck_carry_trials_wrong")),
        sa.ForeignKeyConstraint(
            ["seed_run_id"], ["seed_runs.id"], name="fk_carry_trials_seed_run_id"
        ),
        sa.PrimaryKeyConstraint(
            "seed_run_id", "step", "task", "carry_length", name="pk_carry_trials"
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "checkpoints",
        sa.Column("seed_run_id", ID, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["seed_run_id"], ["seed_runs.id"], name="fk_checkpoints_seed_run_id"
        ),
        sa.PrimaryKeyConstraint("seed_run_id", name="pk_checkpoints"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "evaluations",
        sa.Column("seed_run_id", ID, nullable=False),
        sa.Column("length", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("sequences", sa.BigInteger(), nullable=False),
        sa.Column("wrong_sequences", sa.BigInteger(), nullable=False),
        sa.Column("symbols", sa.BigInteger(), nullable=False),
        sa.Column("wrong_symbols", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "sequences >= 1 AND symbols >= 1", name=op.f("ck_evaluations_not_empty")
        ),
        sa.CheckConstraint(
            "wrong_sequences >= 0 AND wrong_sequences <= sequences",
            name=op.f("ck_evaluations_wrong_sequences"),
        ),
        sa.CheckConstraint(
            "wrong_symbols >= 0 AND wrong_symbols <= symbols",
            name=op.f("ck_evaluations_wrong_symbols"),
        ),
        sa.ForeignKeyConstraint(
            ["seed_run_id"], ["seed_runs.id"], name="fk_evaluations_seed_run_id"
        ),
        sa.PrimaryKeyConstraint("seed_run_id", "length", "step", "task", name="pk_evaluations"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "probe_results",
        sa.Column("seed_run_id", ID, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("probe", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("sequences", sa.BigInteger(), nullable=False),
        sa.Column("wrong_sequences", sa.BigInteger(), nullable=False),
        sa.Column("symbols", sa.BigInteger(), nullable=False),
        sa.Column("wrong_symbols", sa.BigInteger(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "wrong_sequences >= 0 AND wrong_sequences <= sequences",
            name=op.f("ck_probe_results_wrong_sequences"),
        ),
        sa.CheckConstraint(
            "wrong_symbols >= 0 AND wrong_symbols <= symbols",
            name=op.f("ck_probe_results_wrong_symbols"),
        ),
        sa.ForeignKeyConstraint(
            ["seed_run_id"], ["seed_runs.id"], name="fk_probe_results_seed_run_id"
        ),
        sa.PrimaryKeyConstraint("seed_run_id", "step", "probe", "label", name="pk_probe_results"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "training_epochs",
        sa.Column("seed_run_id", ID, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("curriculum_length", sa.Integer(), nullable=False),
        sa.Column("loss", sa.Double(), nullable=True),
        sa.Column("sequences", sa.BigInteger(), nullable=False),
        sa.Column("wrong_sequences", sa.BigInteger(), nullable=False),
        sa.Column("symbols", sa.BigInteger(), nullable=False),
        sa.Column("wrong_symbols", sa.BigInteger(), nullable=False),
        sa.Column("learning_rate", sa.Double(), nullable=True),
        sa.Column("pull", sa.Double(), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.CheckConstraint(
            "wrong_sequences >= 0 AND wrong_sequences <= sequences",
            name=op.f("ck_training_epochs_wrong_sequences"),
        ),
        sa.CheckConstraint(
            "wrong_symbols >= 0 AND wrong_symbols <= symbols",
            name=op.f("ck_training_epochs_wrong_symbols"),
        ),
        sa.ForeignKeyConstraint(
            ["seed_run_id"], ["seed_runs.id"], name="fk_training_epochs_seed_run_id"
        ),
        sa.PrimaryKeyConstraint("seed_run_id", "step", "task", name="pk_training_epochs"),
        sqlite_with_rowid=False,
    )
    connection = op.get_bind()
    for statement in GUARDS[connection.dialect.name]:
        connection.exec_driver_sql(statement)


def downgrade() -> None:
    connection = op.get_bind()
    for table in [
        "training_epochs",
        "probe_results",
        "evaluations",
        "checkpoints",
        "carry_trials",
        "carry_results",
        "seed_runs",
        "packs",
        "runners",
        "events",
        "configurations",
        "sweeps",
        "leases",
    ]:
        op.drop_table(table)
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"DROP FUNCTION {GUARD}()")
