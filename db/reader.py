"""The role that users' queries run as on PostgreSQL: it may log in and read, nothing else.

`SET ROLE` would not do: a query could set it back. The role is the record's own (its name is the
database's), made on the first query if the record's owner may create roles; else the administrator
makes one and names it in a setting (docs/security.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from secrets import token_urlsafe

import psycopg
from psycopg.sql import SQL, Identifier, Literal
from sqlalchemy import URL, Connection, NullPool, create_engine, delete, insert, select, text
from sqlalchemy.exc import OperationalError, ProgrammingError

from db.errors import QueryImpossible
from db.models import secrets

_SECRET = "sql_reader"
#: Of all processes together.
MAX_SESSIONS = 8
_LOCK = 20161162


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A role with its password."""

    name: str
    password: str = field(repr=False)


def ensure_reader(url: URL, relations: Sequence[str]) -> Reader:
    """The role that may read these relations, made where it is missing.

    Raises:
        QueryImpossible: The database does not answer, or its owner may not create roles.
    """
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.begin() as conn:
            name = f"{conn.scalar(text('SELECT current_database()'))[:50]}_sql"
            password = _password(conn)
            if password is None or not _is_as_it_should(conn, name, relations):
                conn.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
                password = _password(conn) or _new_password(conn)
                _make(conn, Reader(name=name, password=password), relations)
    except psycopg.errors.InsufficientPrivilege as error:
        raise QueryImpossible(
            "the record's owner may not create the role that queries run as: "
            "make one and name it in NGPU_SQL_DATABASE_URL (docs/security.md)"
        ) from error
    except ProgrammingError as error:
        raise QueryImpossible(
            "the database is not at the newest schema: run `ngpu db upgrade`"
        ) from error
    except OperationalError as error:
        raise QueryImpossible("the database does not answer at the moment: ask again") from error
    return Reader(name=name, password=password)


def _password(conn: Connection) -> str | None:
    return conn.scalar(select(secrets.c.value).where(secrets.c.name == _SECRET))


def _new_password(conn: Connection) -> str:
    password = token_urlsafe(32)
    conn.execute(delete(secrets).where(secrets.c.name == _SECRET))
    conn.execute(insert(secrets).values(name=_SECRET, value=password))
    return password


def _is_as_it_should(conn: Connection, name: str, relations: Sequence[str]) -> bool:
    if not conn.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": name}):
        return False
    # A migration that makes a view anew takes the permission away with the old one.
    question = """SELECT bool_and(has_table_privilege(:name, relation, 'SELECT'))
FROM unnest(CAST(:all AS text[])) relation"""
    may_read = conn.scalar(text(question), {"name": name, "all": list(relations)})
    return bool(may_read) and not _writers(conn)


def _writers(conn: Connection) -> Sequence[str]:
    """Functions that write although nobody may write, if the record's owner can close them.

    `pg_logical_emit_message` fills the server's log, in a read-only transaction too and whatever
    becomes of it; PostgreSQL lets everybody call it.
    """
    question = """SELECT CAST(CAST(f.oid AS regprocedure) AS text) FROM pg_proc f
CROSS JOIN LATERAL aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) granted
WHERE f.proname = 'pg_logical_emit_message' AND granted.grantee = 0
AND pg_has_role(current_user, f.proowner, 'MEMBER')"""
    return conn.scalars(text(question)).all()


def _make(conn: Connection, reader: Reader, relations: Sequence[str]) -> None:
    raw = conn.connection.driver_connection
    assert isinstance(raw, psycopg.Connection)
    # The server's log gets to see a hash only.
    verifier = raw.pgconn.encrypt_password(
        reader.password.encode(), reader.name.encode(), b"scram-sha-256"
    ).decode()
    role = Identifier(reader.name)
    exists = conn.scalar(text("SELECT 1 FROM pg_roles WHERE rolname = :n"), {"n": reader.name})
    raw.execute(
        SQL("{} ROLE {} LOGIN NOINHERIT CONNECTION LIMIT {} PASSWORD {}").format(
            SQL("ALTER" if exists else "CREATE"), role, Literal(MAX_SESSIONS), Literal(verifier)
        )
    )
    raw.execute(SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(role))
    schema = Identifier(str(conn.scalar(text("SELECT current_schema()"))))
    raw.execute(SQL("GRANT USAGE ON SCHEMA {} TO {}").format(schema, role))
    names = SQL(", ").join(Identifier(relation) for relation in relations)
    raw.execute(SQL("GRANT SELECT ON {} TO {}").format(names, role))
    for function in _writers(conn):
        raw.execute(SQL("REVOKE EXECUTE ON FUNCTION {} FROM PUBLIC").format(SQL(function)))
