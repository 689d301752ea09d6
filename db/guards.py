"""Triggers: a terminal seed run is immutable, whoever writes.

The named functions guard their updates themselves; this is the database's own word on it. A failed
or cancelled seed run may only go back to pending, which is what a retry does.
"""

from sqlalchemy import Connection

GUARD = "terminal_seed_runs_are_immutable"

_WHEN = """OLD.state IN ('finished', 'diverged')
  OR (OLD.state IN ('failed', 'cancelled') AND NEW.state <> 'pending')"""

STATEMENTS = {
    "sqlite": (
        f"""CREATE TRIGGER {GUARD} BEFORE UPDATE ON seed_runs
WHEN {_WHEN}
BEGIN SELECT RAISE(ABORT, 'a terminal seed run is immutable'); END""",
    ),
    "postgresql": (
        f"""CREATE FUNCTION {GUARD}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'a terminal seed run is immutable' USING ERRCODE = 'check_violation';
END $$""",
        f"""CREATE TRIGGER {GUARD} BEFORE UPDATE ON seed_runs
FOR EACH ROW WHEN ({_WHEN})
EXECUTE FUNCTION {GUARD}()""",
    ),
}


def create_guards(conn: Connection) -> None:
    """Create the triggers on tables that exist."""
    for statement in STATEMENTS[conn.dialect.name]:
        conn.exec_driver_sql(statement)
