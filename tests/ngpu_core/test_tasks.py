"""Every task's answers are computed again with Python integers; layouts are the reference's."""

import hashlib
import pickle
import re
import subprocess
import sys
from collections.abc import Sequence
from math import prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from ngpu_core.alphabet import SPACE
from ngpu_core.randomness import stream
from ngpu_core.tasks.registry import TASKS, Batch, Task, UnknownTask, task, valid_lengths
from ngpu_core.tasks.task import Question, Value

SEEDS = st.integers(0, 2**31 - 1)
NAMES = st.sampled_from(sorted(TASKS))
EVERY_TASK = pytest.mark.parametrize("name", sorted(TASKS))
NUMBERS = sorted(name for name, known in TASKS.items() if known.operation)

#: The thirteen of the paper's Figure 2 (SPECS C.4).
FIGURE_2 = {
    *("badd", "badde", "baddet", "baddt", "baddz", "baddzt", "bmul"),
    *("sbadd", "sbadde", "sbaddet", "sbaddt", "scopy", "sdup"),
}

#: Every other name of SPECS C.2 and C.3.
OTHERS = {
    *(f"{base}add{ending}" for base in ("q", "") for ending in ("", "z", "e", "t", "zt", "et")),
    *("qmul", "fmul", "omul", "mul", "bmulz", "qmulz", "mulz", "bmule", "qmule", "mule"),
    *("sbmul", "sbmule", "sbaddz", "sbaddzt", "sbcopy", "sbdup"),
    *("3badd", "3qadd", "3add", "3bmul", "kbadd", "kqadd", "kadd", "kbmul"),
    *(f"{base}expr{kind}" for base in ("b", "q", "") for kind in ("", "a", "p", "s", "sm")),
    *("sort", "kvsort", "id", "rev", "rev2", "incr", "left", "right", "left-shift", "right-shift"),
    *("dup", "search", "mulbcd", "bmul_tfm"),
    *(f"{base}{verb}_dn" for base in ("b", "q", "") for verb in ("add", "mul")),
}

#: Digests of 16 problems of length 21, or the next shorter one, written down once.
GOLDEN = {
    "badd": "a5bb5fc42a4a",
    "baddzt": "cec360b60ef3",
    "mule": "08032ea94639",
    "sbaddet": "b28149c546a5",
    "sdup": "b38692f446f0",
    "sort": "beafaa17315c",
    "dup": "251e4af130c8",
    "qadd_dn": "1e8cf9133861",
    "kadd": "66a7c958aeed",
    "kbmul": "6a04ee8341fe",
    "3bmul": "57a94309fd36",
    "expr": "4461cfe9346a",
    "bexpra": "9b2aad022d61",
    "exprsm": "d2462aea5b66",
    "incr": "1f96a757a237",
    "kvsort": "5642952f6f75",
    "search": "fadc27b639d3",
    "left-shift": "4845aa03a5e7",
    "mulbcd": "27a57f842ff6",
    "bmul_tfm": "1e84d40ec196",
}


def lengths(known: Task, longest: int) -> st.SearchStrategy[int]:
    return st.integers(known.shortest, longest).filter(known.valid)


def draw(name: str, seed: int, length: int, count: int = 8, step: int = 0) -> Batch:
    return TASKS[name].sample(stream(seed, name, step), count, length)


def asked(name: str, batch: Batch) -> list[tuple[int, ...]]:
    questions = [TASKS[name].decode(inputs, batch.targets.shape[1]) for inputs in batch.inputs]
    return [question for question in questions if isinstance(question, tuple)]


def fitting(name: str, length: int) -> int:
    """The longest valid length up to one."""
    return valid_lengths(TASKS[name], 1, length)[-1]


def value_of(expression: str, base: int) -> int:
    """Python's own value of an expression, its numbers written in a base."""
    decimal = re.sub(r"\d+", lambda found: str(int(found[0], base)), expression)
    return int(eval(decimal.replace("/", "//")))


def pairs_of(word: Sequence[int]) -> list[tuple[int, ...]]:
    return [tuple(word[place : place + 2]) for place in range(0, len(word) - 1, 2)]


def joined(pairs: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(symbol for pair in pairs for symbol in pair)


def one_more(word: Sequence[int], base: int) -> tuple[int, ...]:
    number = sum((symbol - 1) * base**place for place, symbol in enumerate(word)) + 1
    return tuple(number // base**place % base + 1 for place in range(len(word)))


#: What a word becomes, by task, with the reference's alphabet.
WORDS = {
    "dup": lambda word: word * 2,
    "sdup": lambda word: word * 2,
    "sbdup": lambda word: word * 2,
    "rev": lambda word: word[::-1],
    "sort": lambda word: tuple(sorted(word)),
    "left": lambda word: word[:1],
    "right": lambda word: word[-1:],
    "left-shift": lambda word: word[-1:] + word[:-1],
    "right-shift": lambda word: word[1:] + word[:1],
    "incr": lambda word: one_more(word, 32),
    "rev2": lambda word: joined(pairs_of(word)[::-1]),
    "kvsort": lambda word: joined(sorted(pairs_of(word), key=lambda pair: pair[0])),
    "search": lambda word: tuple(v for k, v in pairs_of(word) if k == word[-1])[:1],
}


def right_answer(known: Task, question: Question) -> Value:
    if isinstance(question, str):
        return value_of(question, known.base or 0)
    if known.operation == "+" or known.name.endswith("add"):
        return sum(question)
    if known.operation == "*" or known.name.endswith("mul"):
        return prod(question)
    answer: tuple[int, ...] = WORDS.get(known.name, tuple)(question)
    return answer


def check(name: str, seed: int, length: int, count: int = 8) -> None:
    known, batch = TASKS[name], draw(name, seed, length, count)
    assert batch.inputs.shape == (count, known.rows, length)
    assert batch.targets.shape == (count, length)
    assert batch.inputs.dtype == batch.targets.dtype == np.int16
    assert batch.inputs.flags.c_contiguous
    assert batch.targets.flags.c_contiguous
    for inputs, targets in zip(batch.inputs, batch.targets, strict=True):
        question = known.decode(inputs, length)
        assert known.decode_target(targets, length) == right_answer(known, question)


@EVERY_TASK
@settings(max_examples=12, deadline=None)
@given(data=st.data(), seed=SEEDS)
def test_targets_are_the_right_answers(name: str, data: st.DataObject, seed: int) -> None:
    check(name, seed, data.draw(lengths(TASKS[name], 60)))


@EVERY_TASK
@settings(max_examples=3, deadline=None)
@given(data=st.data(), seed=SEEDS)
def test_targets_are_the_right_answers_at_test_lengths(
    name: str, data: st.DataObject, seed: int
) -> None:
    check(name, seed, data.draw(lengths(TASKS[name], 401)))


@EVERY_TASK
@pytest.mark.parametrize("length", [201, 401])
def test_targets_are_the_right_answers_at_the_published_lengths(name: str, length: int) -> None:
    check(name, length, fitting(name, length))


@pytest.mark.slow
@EVERY_TASK
def test_ten_thousand_targets_over_all_lengths_are_the_right_answers(name: str) -> None:
    valid = valid_lengths(TASKS[name], 1, 401)
    share, more = divmod(10_000, len(valid))
    for place, length in enumerate(valid):
        check(name, 10_000, length, share + (place < more))


@pytest.mark.parametrize("name", ["mul", "bmul_dn", "add", "mulbcd", "kadd", "kbmul", "expra"])
def test_answers_stay_exact_at_thousands_of_digits(name: str) -> None:
    check(name, 0, 4001)


@EVERY_TASK
def test_symbols_fill_exactly_the_declared_alphabets(name: str) -> None:
    length = fitting(name, 41)
    known, batch = TASKS[name], draw(name, 1, length, count=300)
    assert batch.inputs.min() >= 0
    assert batch.targets.min() >= 0
    if known.family in ("sequence", "pairs"):
        assert batch.inputs.max() == batch.targets.max() == 32
        least = known.sample(stream(1, name), 20, length, symbols=2)
        assert least.inputs.max() == least.targets.max() == 1
    else:
        assert batch.inputs.max() == known.input_symbols - 1
        assert batch.targets.max() == known.output_symbols - 1


@EVERY_TASK
def test_the_same_stream_gives_the_same_problems_and_another_others(name: str) -> None:
    length = fitting(name, 41)
    batches = [draw(name, seed, length) for seed in (0, 0, 1)]
    batches.append(draw(name, 0, length, step=1))
    batches.append(TASKS[name].sample(stream(0, "another purpose"), 8, length))
    first, again, *others = [batch.inputs.tobytes() for batch in batches]
    assert first == again
    assert first not in others


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_a_stored_seed_means_the_same_problems_in_every_release(name: str) -> None:
    batch = TASKS[name].sample(stream(0, "golden"), 16, fitting(name, 21))
    cells = batch.inputs.astype("<i2").tobytes() + batch.targets.astype("<i2").tobytes()
    assert hashlib.blake2b(cells, digest_size=6).hexdigest() == GOLDEN[name]


@EVERY_TASK
def test_no_problems_is_a_valid_number_of_problems(name: str) -> None:
    length = fitting(name, 9)
    batch = draw(name, 0, length, count=0)
    assert batch.inputs.shape == (0, TASKS[name].rows, length)
    assert batch.targets.shape == (0, length)


@EVERY_TASK
def test_every_length_called_valid_has_problems_and_no_other(name: str) -> None:
    known = TASKS[name]
    valid = valid_lengths(known, -3, 14)
    assert valid[0] == known.shortest
    for length in range(-3, 15):
        if length in valid:
            check(name, 0, length)
        else:
            with pytest.raises(ValueError, match=f"length {length} is not valid for task {name}"):
                draw(name, 0, length)


def test_a_wrong_length_is_refused_with_the_nearest_right_ones() -> None:
    with pytest.raises(ValueError, match=r"length 8 .* badd: nearest is 7 or 9$"):
        draw("badd", 0, 8)
    with pytest.raises(ValueError, match=r"length 2 .* bmul: nearest is 3$"):
        draw("bmul", 0, 2)
    with pytest.raises(ValueError, match=r"length -9 .* sbadd: nearest is 5$"):
        draw("sbadd", 0, -9)
    with pytest.raises(ValueError, match=r"length 400 .* mulbcd: nearest is 393 or 401$"):
        draw("mulbcd", 0, 400)
    with pytest.raises(ValueError, match=r"length 41 .* kvsort: nearest is 40 or 42$"):
        draw("kvsort", 0, 41)
    with pytest.raises(ValueError, match=r"length 4 .* 3bmul: nearest is 5$"):
        draw("3bmul", 0, 4)
    assert draw("badd_dn", 0, 8).targets.shape == (8, 8)


def test_wrong_counts_and_alphabets_are_refused() -> None:
    with pytest.raises(ValueError, match="count is -1"):
        draw("badd", 0, 9, count=-1)
    with pytest.raises(ValueError, match="symbols is 1"):
        TASKS["rev"].sample(stream(0, "x"), 1, 9, symbols=1)


def test_a_task_is_found_by_name_and_a_misspelt_one_told_its_nearest() -> None:
    assert all(task(name) is TASKS[name] for name in TASKS)
    assert set(TASKS) == FIGURE_2 | OTHERS
    assert len(FIGURE_2) == 13
    assert all(known.name == name for name, known in TASKS.items())
    with pytest.raises(UnknownTask, match="no task 'baddd': the nearest name is 'badd") as caught:
        task("baddd")
    copied = pickle.loads(pickle.dumps(caught.value))
    assert (copied.name, str(copied)) == ("baddd", str(caught.value))
    assert pickle.loads(pickle.dumps(TASKS["sbaddt"])).name == "sbaddt"


def test_tasks_load_neither_torch_nor_scipy() -> None:
    code = "import sys, ngpu_core.tasks.registry as r; print({'torch', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(("name", "k", "low"), [("badd", 4, 0), ("qmul", 2, 0), ("mul", 1, 0)])
def test_operands_are_uniform_and_independent(name: str, k: int, low: int) -> None:
    pairs = np.array(asked(name, draw(name, 0, 2 * k + 1, count=20_000)))
    size = (TASKS[name].base or 0) ** k
    cells = np.bincount(pairs[:, 0] * size + pairs[:, 1], minlength=size**2)
    assert stats.chisquare(cells).pvalue > 1e-4


@pytest.mark.parametrize("name", ["badd", "add", "bmul_dn"])
def test_long_operands_are_uniform_too(name: str) -> None:
    pairs = asked(name, draw(name, 0, 401, count=2000))
    size = (TASKS[name].base or 0) ** 200
    values = [float(operand / size) for pair in pairs for operand in pair]
    assert stats.kstest(values, "uniform").pvalue > 1e-4


@pytest.mark.parametrize("name", ["badd", "baddt", "addt", "bmul", "badd_dn"])
def test_a_padded_problem_stands_where_the_reference_puts_it(name: str) -> None:
    known, batch = TASKS[name], draw(name, 3, 21)
    for inputs, question in zip(batch.inputs[:, 0], asked(name, batch), strict=True):
        split = inputs.tolist()
        expected = [question[0] // (known.base or 0) ** i % (known.base or 0) for i in range(10)]
        assert split[:10] == [digit + 1 for digit in expected]
        assert split[10] == known.input_symbols - 1
        assert 0 not in split[11:]


def test_diagonal_products_fill_the_row_unless_decimal_and_sums_have_no_leading_zeros() -> None:
    for name in ("bmul_dn", "qmul_dn"):
        assert (draw(name, 0, 24).targets > 0).all()
        assert (draw(name, 0, 24).inputs[:, 0, 23:] == 0).all()
    for name in ("badd_dn", "qadd_dn", "add_dn", "mul_dn", "bmul_tfm"):
        batch = draw(name, 0, 24, count=200)
        for question, row in zip(asked(name, batch), batch.targets, strict=True):
            answer = right_answer(TASKS[name], question)
            assert isinstance(answer, int)
            assert np.count_nonzero(row) == len(np.base_repr(answer, TASKS[name].base or 0))
            assert (np.diff((row == 0).astype(int)) >= 0).all()


@pytest.mark.parametrize("name", ["baddz", "addzt", "bmulz"])
def test_unpadded_numbers_have_no_leading_zeros(name: str) -> None:
    batch = draw(name, 0, 15, count=300)
    base = TASKS[name].base or 0
    for inputs, targets, (first, second) in zip(
        batch.inputs[:, 0], batch.targets, asked(name, batch), strict=True
    ):
        written = len(np.base_repr(first, base)) + 1 + len(np.base_repr(second, base))
        assert np.count_nonzero(inputs) == np.flatnonzero(inputs)[-1] + 1 == written
        answer = right_answer(TASKS[name], (first, second))
        assert isinstance(answer, int)
        assert np.count_nonzero(targets) == len(np.base_repr(answer, base))


@pytest.mark.parametrize("name", ["badde", "addet", "mule"])
def test_aligned_numbers_stand_one_under_the_other(name: str) -> None:
    batch = draw(name, 0, 15)
    assert (batch.inputs[:, 0, :7] > 0).all()
    assert (batch.inputs[:, 0, 7:] == 0).all()
    assert (batch.inputs[:, 1, 7] == TASKS[name].input_symbols - 1).all()
    assert (batch.inputs[:, 1, 8:] == 0).all()
    assert (batch.targets > 0).all()


def test_a_word_to_double_is_half_the_row() -> None:
    batch = draw("dup", 0, 11)
    assert (batch.inputs[:, 0, :5] > 0).all()
    assert (batch.inputs[:, 0, 5:] == 0).all()
    assert (batch.targets[:, :10] == np.tile(batch.inputs[:, 0, :5], 2)).all()
    assert (batch.targets[:, 10] == 0).all()


def test_tough_sums_have_the_structured_pairs_in_their_shares() -> None:
    """A fifth complements (half of them of full width), a fifth runs of top digits."""
    pairs = asked("addt", draw("addt", 0, 61, count=8000))
    powers = {10**width - missing for width in range(1, 31) for missing in (0, 1)}
    runs = {10**high - 10**low for high in range(1, 31) for low in range(high)}
    complements = np.mean([sum(pair) in powers for pair in pairs])
    full = np.mean([sum(pair) in (10**30, 10**30 - 1) for pair in pairs])
    blocks = np.mean([first in runs or second in runs for first, second in pairs])
    assert complements == pytest.approx(0.2, abs=0.025)
    assert full == pytest.approx(0.1 + 0.1 / 30, abs=0.02)
    assert blocks == pytest.approx(0.2, abs=0.03)


def test_tough_blocks_end_uniformly_and_come_in_both_orders() -> None:
    k, runs = 12, {10**high - 10**low: high for high in range(1, 13) for low in range(high)}
    pairs = asked("addt", draw("addt", 1, 2 * k + 1, count=20_000))
    first = np.bincount([runs[a] for a, _ in pairs if a in runs], minlength=k + 1)[1:]
    second = np.bincount([runs[b] for _, b in pairs if b in runs], minlength=k + 1)[1:]
    # the larger of two uniform draws: (2h - 1) / k**2; short runs also arise by complements
    expected = (2 * np.arange(1, k + 1) - 1) / k**2 * 20_000 * 0.1
    for seen in (first, second):
        assert (np.abs(seen - expected)[3:] < 5 * np.sqrt(expected[3:]) + 0.1 * expected[3:]).all()


def test_spaced_words_have_uniform_sizes_rows_and_places() -> None:
    batch = draw("scopy", 0, 9, count=20_000)
    written = batch.inputs != SPACE
    sizes = written.sum(axis=(1, 2))
    rows = written.any(axis=2).argmax(axis=1)
    left = written.any(axis=1).argmax(axis=1)
    assert stats.chisquare(np.bincount(sizes)[1:]).pvalue > 1e-4
    assert sizes.max() == 8
    assert stats.chisquare(np.bincount(rows, minlength=4)).pvalue > 1e-4
    assert stats.chisquare(np.bincount(left[sizes == 3], minlength=7)).pvalue > 1e-4


@pytest.mark.parametrize("name", sorted(n for n, known in TASKS.items() if known.rows == 4))
def test_a_grid_has_no_pads_and_its_problem_is_one_block(name: str) -> None:
    batch = draw(name, 0, 15, count=300)
    assert (batch.inputs > 0).all()
    assert (batch.targets > 0).all()
    height = 2 if TASKS[name].family == "spaced_aligned" else 1
    written = (batch.inputs != SPACE).any(axis=2)
    assert (written.sum(axis=1) == height).all()
    assert set(written.argmax(axis=1)) == set(range(5 - height))


@pytest.mark.parametrize("name", NUMBERS)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_given_operands_are_posed_as_given(name: str, data: st.DataObject) -> None:
    known = TASKS[name]
    assert known.pose is not None
    k = data.draw(st.integers(1, 30))
    digit = st.integers(0, (known.base or 0) - 1)
    row = st.lists(digit, min_size=k, max_size=k)
    first, second = (np.array([data.draw(row)]) for _ in range(2))
    length = known.length_of(k)
    batch = known.pose(stream(0, "place"), first, second, length)
    numbers = [
        sum(int(d) * (known.base or 0) ** i for i, d in enumerate(n[0])) for n in (first, second)
    ]
    assert asked(name, batch) == [tuple(numbers)]
    assert known.decode_target(batch.targets[0], length) == right_answer(known, tuple(numbers))


@pytest.mark.parametrize("name", NUMBERS)
def test_operands_that_do_not_fit_are_refused(name: str) -> None:
    known = TASKS[name]
    assert known.pose is not None
    ones = np.ones((1, 5), dtype=np.int64)
    with pytest.raises(ValueError, match="need"):
        known.pose(stream(0, "x"), ones, ones, 5)
    with pytest.raises(ValueError, match="must be equal"):
        known.pose(stream(0, "x"), ones, ones[:, :4], 11)


@EVERY_TASK
def test_padding_to_a_bin_does_not_change_what_is_read(name: str) -> None:
    length = fitting(name, 9)
    known, batch = TASKS[name], draw(name, 0, length, count=1)
    inputs = np.pad(batch.inputs[0], ((0, 4 - known.rows), (0, 7)))
    targets = np.pad(batch.targets[0], (0, 7))
    assert known.decode(inputs, length) == known.decode(batch.inputs[0], length)
    assert known.decode_target(targets, length) == known.decode_target(batch.targets[0], length)


@EVERY_TASK
def test_what_is_no_answer_is_not_read_as_one_but_can_be_shown(name: str) -> None:
    """Training leaves networks that write pads and operators among the digits."""
    known, wrong = TASKS[name], np.array([1, 1, 0, 1, 24, 1, 1, 1, 1], dtype=np.int16)
    assert known.target_text(wrong, 9)
    with pytest.raises(ValueError, match=r"is no digit of base|has no holes"):
        known.decode_target(wrong, 9)


@pytest.mark.parametrize("name", ["badd", "baddz", "sbadd", "scopy", "3add", "expra", "mulbcd"])
def test_a_row_of_pads_is_no_number(name: str) -> None:
    nothing = np.zeros(9, dtype=np.int16)
    with pytest.raises(ValueError, match=r"is no digit of base|at least one digit"):
        TASKS[name].decode_target(nothing, 9)
    with pytest.raises(ValueError, match=r"no operator here|no digit|one digit|one row or two"):
        TASKS[name].decode(np.zeros((4, 9), dtype=np.int16), 9)


@EVERY_TASK
def test_what_is_no_problem_is_not_read_as_one(name: str) -> None:
    known = TASKS[name]
    with pytest.raises(ValueError, match=r"no digit|no operator|has no holes|one row or two"):
        known.decode(np.array([[1, 0, 1, 24, 24, 1, 0, 1, 1]] * 4, dtype=np.int16), 9)


@EVERY_TASK
def test_examples_read_as_people_write_them(name: str) -> None:
    known = TASKS[name]
    question, answer = known.example(stream(0, name), fitting(name, 13))
    if (known.base and known.family != "spaced") or known.operation:
        assert int(answer, known.base or 0) == value_of(question, known.base or 0)
    elif known.family == "spaced":
        assert answer == (question if "copy" in name else question.removeprefix("dup ") * 2)
    elif name == "incr":
        digits = [int(digit) for digit in question.removesuffix(" + 1").split()]
        expected = one_more([digit + 1 for digit in digits[::-1]], 32)
        assert [int(digit) + 1 for digit in answer.split()] == list(expected[::-1])
    else:
        words = tuple(int(symbol) for symbol in re.findall(r"\d+", question))
        assert tuple(map(int, re.findall(r"\d+", answer))) == right_answer(known, words)
    assert known.description.endswith(".")


@pytest.mark.parametrize("name", NUMBERS)
def test_a_drawn_name_says_its_base_and_operation(name: str) -> None:
    known = TASKS[name]
    letter = {2: "b", 4: "q", 5: "f", 8: "o", 10: ""}[known.base or 0]
    verb = {"+": "add", "*": "mul"}[known.operation or ""]
    assert name.removeprefix("s").startswith(letter + verb)
