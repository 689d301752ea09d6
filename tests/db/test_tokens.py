"""Tokens: made once, found by their secret, revoked for good; the record cannot tell them."""

import pytest
from sqlalchemy import Engine, select

from db.engine import reading, writing
from db.models import api_tokens
from db.states import Role
from db.tokens import (
    TokenExists,
    TokenNotFound,
    any_in_force,
    create_token,
    holder_of,
    list_tokens,
    needs_note,
    note_use,
    revoke_token,
)


def made(engine: Engine, name: str = "ada", role: Role = Role.SUBMIT) -> str:
    with writing(engine) as conn:
        return create_token(conn, name, role)


def test_a_token_tells_its_holder(engine: Engine) -> None:
    tokens = {
        name: made(engine, name, role) for name, role in (("a", Role.READ), ("b", Role.ADMIN))
    }
    with reading(engine) as conn:
        found = {name: holder_of(conn, token) for name, token in tokens.items()}
    assert [(one.name, one.role) for one in found.values() if one] == [
        ("a", Role.READ),
        ("b", Role.ADMIN),
    ]


def test_no_other_text_is_a_token(engine: Engine) -> None:
    token, other = made(engine), made(engine, "other")
    prefix, token_id, secret = token.split("_")
    with reading(engine) as conn:
        stored = conn.execute(select(api_tokens.c.hash)).scalars().first()
        wrong = [
            "",
            "_",
            "ngpu",
            token[:-1],
            token + "0",
            token.upper(),
            f"other_{token_id}_{secret}",
            f"{prefix}_{token_id}_{other.split('_')[2]}",
            f"{prefix}_{token_id}_{stored}",
            f"{prefix}_{'0' * 12}_{secret}",
            f"{prefix}_{token_id}_ü\udcff",
            "x" * 100_000,
        ]
        assert [text for text in wrong if holder_of(conn, text)] == []
        assert holder_of(conn, token)


def test_the_record_holds_no_secret(engine: Engine) -> None:
    secret = made(engine).split("_")[2]
    with reading(engine) as conn:
        row = conn.execute(select(api_tokens)).one()
        listed = list_tokens(conn)
    assert not any(secret in str(value) for value in row)
    assert set(listed[0]) == {"name", "role", "created_at", "used_at", "revoked_at"}


def test_a_revoked_token_is_nobody_s_and_its_name_stays_taken(engine: Engine) -> None:
    token = made(engine)
    with writing(engine) as conn:
        assert any_in_force(conn)
        revoke_token(conn, "ada")
    with reading(engine) as conn:
        assert holder_of(conn, token) is None
        assert not any_in_force(conn)
    with pytest.raises(TokenNotFound), writing(engine) as conn:
        revoke_token(conn, "ada")
    with pytest.raises(TokenExists):
        made(engine)


def test_the_last_use_is_kept_to_the_minute(engine: Engine) -> None:
    token = made(engine)
    with writing(engine) as conn:
        holder = holder_of(conn, token)
        assert holder
        assert needs_note(conn, holder)
        note_use(conn, holder)
    with reading(engine) as conn:
        assert not needs_note(conn, holder)
        assert list_tokens(conn)[0]["used_at"]
