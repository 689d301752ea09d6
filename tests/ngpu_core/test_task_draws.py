"""Tasks of many terms and expressions draw their problems as the reference's generators do."""

from collections import Counter
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ngpu_core.randomness import stream
from ngpu_core.tasks.expressions import KINDS, OPERATOR_CHANCE, evaluate
from ngpu_core.tasks.integers import digit_columns, integer
from ngpu_core.tasks.multiterm import ZERO_SHARE
from ngpu_core.tasks.registry import TASKS

COUNT = 20_000


def drawn(name: str, length: int, count: int = COUNT) -> list[str]:
    """Problems as people read them."""
    batch = TASKS[name].sample(stream(0, name), count, length)
    return [TASKS[name].input_text(inputs, length) for inputs in batch.inputs]


def chance(text: str, base: int, operators: str) -> float:
    """Of an expression in the reference's generator, before it tries again; it draws backwards."""
    chances, before = 1.0, "?"
    for place, character in enumerate(reversed(text)):
        may = 0 < place < len(text) - 1 and before.isdigit()
        if character in operators:
            chances *= OPERATOR_CHANCE / len(operators) if may else 0.0
        else:
            chances *= (1 - OPERATOR_CHANCE if may else 1.0) / base
        before = character
    return chances


def expected(length: int, base: int, operators: str) -> dict[str, float]:
    """Every expression of a length and its chance, given that it has a value of at least zero."""
    kept = {}
    for characters in product("0123456789"[:base] + operators, repeat=length):
        text = "".join(characters)
        if weight := chance(text, base, operators):
            try:
                kept[text] = weight * (evaluate(text, base) >= 0)
            except ZeroDivisionError:
                continue
    whole = sum(kept.values())
    return {text: weight / whole for text, weight in kept.items() if weight}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_expressions_are_as_frequent_as_in_the_reference(kind: str) -> None:
    chances = expected(5, 2, KINDS[kind])
    counted = Counter(drawn(f"bexpr{kind}", 5))
    assert set(counted) <= set(chances)
    frequent = [text for text, one in chances.items() if one * COUNT >= 5]
    seen = np.array([counted[text] for text in frequent])
    wanted = np.array([chances[text] for text in frequent]) * COUNT
    seen, wanted = np.append(seen, COUNT - seen.sum()), np.append(wanted, COUNT - wanted.sum())
    kept = wanted > 1e-6 * COUNT
    assert stats.chisquare(seen[kept], wanted[kept]).pvalue > 1e-4


def test_expressions_have_no_operators_at_their_ends_or_together() -> None:
    for text in drawn("expra", 41, 400):
        assert len(text) == 41
        assert text[0].isdigit()
        assert text[-1].isdigit()
        assert all(a.isdigit() or b.isdigit() for a, b in pairwise(text))


@pytest.mark.parametrize(
    ("text", "value"),
    [("7/2*2", 6), ("1-7/2", -2), ("2*3+4*5", 26), ("100/7/2", 7), ("5-2-1", 2), ("0007", 7)],
)
def test_values_are_pythons(text: str, value: int) -> None:
    assert evaluate(text, 10) == value


def test_what_is_no_expression_has_no_value() -> None:
    with pytest.raises(ZeroDivisionError):
        evaluate("1/0", 10)
    for text in ("", "1+", "*1", "2"):
        with pytest.raises(ValueError, match="invalid literal"):
            evaluate(text, 2)


@pytest.mark.parametrize("name", ["3badd", "3bmul"])
def test_three_terms_are_uniform_and_independent(name: str) -> None:
    counted = Counter(drawn(name, 8))
    assert len(counted) == 4**3
    assert stats.chisquare(list(counted.values())).pvalue > 1e-4


def test_any_number_of_terms_is_uniform_and_all_are_equally_long() -> None:
    texts = [text.split("+") for text in drawn("kadd", 11)]
    counted = Counter(len(terms) for terms in texts)
    assert sorted(counted) == [1, 2, 3, 4, 5, 6]
    assert stats.chisquare(list(counted.values())).pvalue > 1e-4
    assert {(len(terms), len(term)) for terms in texts for term in terms} == {
        (number, 12 // number - 1) for number in counted
    }


def test_factors_may_be_zero_in_three_problems_of_ten() -> None:
    """Of two factors with k = 2 one is zero with chance 7/16 where that may be."""
    texts = [text.split("*") for text in drawn("kbmul", 5)]
    pairs = [terms for terms in texts if len(terms) == 2]
    zeros = np.mean(["00" in terms for terms in pairs])
    assert zeros == pytest.approx(ZERO_SHARE * 7 / 16, abs=0.015)
    # with neither zero, all nine pairs are as frequent
    counted = Counter("*".join(terms) for terms in pairs if "00" not in terms)
    assert len(counted) == 9
    assert stats.chisquare(list(counted.values())).pvalue > 1e-4


def test_the_first_of_equal_keys_is_found_and_equal_keys_keep_their_order() -> None:
    """With two symbols keys are equal often."""
    search = TASKS["search"].sample(stream(0, "search"), 200, 9, symbols=3)
    for inputs, targets in zip(search.inputs[:, 0].tolist(), search.targets.tolist(), strict=True):
        found = [v for k, v in zip(inputs[:-1:2], inputs[1:-1:2], strict=True) if k == inputs[-1]]
        assert targets == [*(found[:1] or [0]), *[0] * 8]
    batch = TASKS["kvsort"].sample(stream(0, "sort"), 200, 10, symbols=3)
    for inputs, targets in zip(batch.inputs[:, 0].tolist(), batch.targets.tolist(), strict=True):
        for key in (1, 2):
            values = [
                [v for k, v in zip(row[::2], row[1::2], strict=True) if k == key]
                for row in (inputs, targets)
            ]
            assert values[0] == values[1]
        assert targets[::2] == sorted(inputs[::2])


def test_one_more_than_the_highest_number_is_zero() -> None:
    batch = TASKS["incr"].sample(stream(0, "incr"), 200, 3, symbols=3)
    answers = dict(
        zip(map(tuple, batch.inputs[:, 0].tolist()), batch.targets.tolist(), strict=True)
    )
    assert len(answers) == 8
    assert answers[2, 2, 2] == [1, 1, 1]
    assert answers[2, 1, 2] == [1, 2, 2]


@settings(deadline=None)
@given(
    base=st.sampled_from([2, 4, 8, 10]),
    values=st.lists(st.integers(0, 10**60), min_size=1, max_size=5),
)
def test_integers_survive_the_way_to_columns_and_back(base: int, values: list[int]) -> None:
    columns = digit_columns(values, base, 210)
    texts = ["".join(map(str, row[::-1].tolist())) for row in columns]
    assert [integer(text, base) for text in texts] == values


def test_numbers_longer_than_python_converts_at_once_are_exact() -> None:
    columns = digit_columns([10**9000 - 1, 7], 10, 9001)
    assert columns[0].tolist() == [9] * 9000 + [0]
    assert columns[1].tolist() == [7] + [0] * 9000
    assert integer("9" * 9000, 10) == 10**9000 - 1


@pytest.mark.parametrize("base", [2, 10])
def test_a_number_with_too_many_digits_is_refused(base: int) -> None:
    with pytest.raises(OverflowError, match="more than 3 digits"):
        digit_columns([base**3], base, 3)
