"""Tokens: made once, found by their secret, revoked for good; the record cannot tell them."""

import pytest
from sqlalchemy import Engine, select

from db.engine import reading, writing
from db.models import api_tokens
from db.states import Role
from db.tokens import (
    MalformedToken,
    TokenExists,
    TokenNotFound,
    adopt_token,
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


def adopted(engine: Engine, token: str, role: Role = Role.ADMIN) -> bool:
    with writing(engine) as conn:
        return adopt_token(conn, "root", role, token)


def a_token(digit: str) -> str:
    return f"ngpu_{digit * 12}_{digit * 64}"


def test_a_token_of_a_file_is_put_in_force_once(engine: Engine) -> None:
    assert [adopted(engine, a_token("a")) for _ in range(3)] == [True, False, False]
    with reading(engine) as conn:
        holder = holder_of(conn, a_token("a"))
        assert holder is not None
        assert (holder.name, holder.role) == ("root", Role.ADMIN)
        assert len(list_tokens(conn)) == 1


def test_a_token_of_a_file_that_was_revoked_stays_so(engine: Engine) -> None:
    adopted(engine, a_token("a"))
    with writing(engine) as conn:
        revoke_token(conn, "root")
    assert adopted(engine, a_token("a")) is False
    with reading(engine) as conn:
        assert holder_of(conn, a_token("a")) is None


def test_another_token_in_the_file_takes_the_former_out_of_force_and_no_other(
    engine: Engine,
) -> None:
    bystanders = [made(engine, name) for name in ("root-bob", "groot")]
    for digit in "abc":
        assert adopted(engine, a_token(digit))
    with reading(engine) as conn:
        assert [holder_of(conn, a_token(digit)) for digit in "ab"] == [None, None]
        assert holder_of(conn, a_token("c"))
        assert all(holder_of(conn, token) for token in bystanders)


@pytest.mark.parametrize(
    "text", ["", "secret", "ngpu_aaaaaaaaaaaa_", a_token("g"), a_token("a") + "a", a_token("A")]
)
def test_a_file_that_holds_no_token_is_refused(engine: Engine, text: str) -> None:
    with pytest.raises(MalformedToken):
        adopted(engine, text)


def test_a_token_cannot_take_the_place_of_another_with_its_id(engine: Engine) -> None:
    adopted(engine, a_token("a"))
    with pytest.raises(TokenExists):
        adopted(engine, f"ngpu_{'a' * 12}_{'b' * 64}")
    with reading(engine) as conn:
        assert holder_of(conn, a_token("a"))
