"""Alembic's entry point: runs on the connection handed over, or on `-x url=…` by hand."""

from alembic import context
from sqlalchemy import Connection

from db.engine import open_engine, writing
from db.models import metadata


def _run(conn: Connection) -> None:
    context.configure(connection=conn, target_metadata=metadata, compare_type=True)
    with context.begin_transaction():
        context.run_migrations()


def _run_by_hand() -> None:
    url = context.get_x_argument(as_dictionary=True).get("url")
    if url is None:
        raise SystemExit("say which database: alembic -c db/alembic.ini -x url=sqlite:///… upgrade")
    engine = open_engine(url)
    with writing(engine) as conn:
        _run(conn)


if (handed_over := context.config.attributes.get("connection")) is not None:
    _run(handed_over)
else:
    _run_by_hand()
