"""Learning curves in pages, against all rows of the view in one order."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from record import ask, claimed, epoch, evaluation, lease_of, submitted
from sqlalchemy import Engine, select

from db import queries
from db.curve_pages import curve_page
from db.engine import reading, writing
from db.errors import BadCursor
from db.paging import MAX_LIMIT
from db.recording import Rows, write_rows
from db.views import learning_curves

ORDER = ("configuration_id", "seed", "kind", "task", "length", "step")
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(["test", "training"]),
        "task": st.sampled_from(["badd", "baddt", "never"]),
        "length": st.sampled_from([9, 12, 201]),
    },
)


def naive(engine: Engine, sweep_id: str, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """Every row of the view, chosen and sorted here."""
    query = select(learning_curves).where(learning_curves.c.sweep_id == sweep_id)
    with reading(engine) as conn:
        rows = [dict(row) for row in conn.execute(query).mappings()]
    chosen = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    return sorted(chosen, key=lambda row: [row[key] for key in ORDER])


def paged(engine: Engine, sweep_id: str, limit: int, wanted: dict[str, Any]) -> list[Any]:
    """The pages of a list, read to the end."""
    pages, cursor = [], None
    while True:
        found = ask(engine, curve_page, sweep_id, cursor=cursor, limit=limit, **wanted)
        pages.append(found.items)
        cursor = found.next_cursor
        if cursor is None:
            return pages


def measured(engine: Engine) -> str:
    """A sweep of which each seed got to another step, one nowhere, beside another sweep."""
    sweep_id = submitted(engine, configurations=2, seeds=6, together=3)
    other = submitted(engine, seeds=2, together=2)
    for sweep in (sweep_id, other, sweep_id, sweep_id, sweep_id):
        pack = claimed(engine, sweep)
        tests = [
            evaluation(seed, 100 * n, wrong=n + seed, task=task, length=length)
            for seed in pack.seeds
            for n in range(1, 1 + seed)
            for task in ("badd", "baddt")
            for length in (9, 201)
        ]
        epochs = [epoch(seed, 50 * n) for seed in pack.seeds for n in range(1, 1 + seed)]
        rows = Rows(evaluations=tests, training_epochs=epochs)
        with writing(engine) as conn:
            write_rows(conn, lease_of(pack), rows, steps={}, wall_seconds=1.0)
    return sweep_id


def test_pages_are_the_sorted_rows_whatever_is_asked_for(engine: Engine) -> None:
    sweep_id = measured(engine)
    one = ask(engine, queries.configurations, sweep_id)[1]["id"]

    @given(FILTERS, st.booleans(), st.integers(1, 40))
    def holds(wanted: dict[str, Any], narrowed: bool, limit: int) -> None:
        chosen = wanted | ({"configuration_id": one} if narrowed else {})
        whole = naive(engine, sweep_id, chosen)
        pages = paged(engine, sweep_id, limit, chosen)
        assert [row for page in pages for row in page] == whole
        assert all(len(page) == limit for page in pages[:-1])
        assert len(pages[-1]) <= limit
        assert ask(engine, queries.curves, sweep_id, **chosen) == whole

    holds()
    assert len(naive(engine, sweep_id, {})) == 2 * 15 * (2 * 2 + 1)


def test_of_another_sweep_and_of_none_there_is_nothing(engine: Engine) -> None:
    sweep_id, other = measured(engine), submitted(engine)
    theirs = ask(engine, queries.configurations, other)[0]["id"]
    assert ask(engine, curve_page, sweep_id, configuration_id=theirs).items == []
    assert ask(engine, curve_page, other).items == []
    assert ask(engine, curve_page, "nothing").items == []


def test_a_cursor_of_another_list_and_a_limit_out_of_range_are_refused(engine: Engine) -> None:
    sweep_id = measured(engine)
    cursor = ask(engine, queries.seeds, sweep_id, limit=1).next_cursor
    with pytest.raises(BadCursor):
        ask(engine, curve_page, sweep_id, cursor=cursor)
    with pytest.raises(ValueError, match="must be between 1 and"):
        ask(engine, curve_page, sweep_id, limit=MAX_LIMIT + 1)
