"""The worked examples that the sources print, with the errata of SPECS section 0."""

import numpy as np
import pytest

from ngpu_core.alphabet import parse_number
from ngpu_core.randomness import stream
from ngpu_core.tasks.expressions import evaluate
from ngpu_core.tasks.registry import TASKS, Batch
from ngpu_core.tasks.task import Symbols

FIRST_EXPRESSION = (
    "001110111001/1+10-10*0/1/1*111/10*010+0/010011-10/10101*0+010/1*00-110*1*0/1/101000-00000+000"
    "-1+1-1011111*010-010/0011111011-010-1100-0/0010000*01*0010000+0111110+00001+10/10*111111111-10"
    "*10-1*11111+01"
)
SECOND_EXPRESSION = (
    "1101-0*11+100+0+111+1-000011-1*1110/1101001*1001+0-10*11*00100/1111-011*1+010+1*00100010101001"
    "-000*1000110100/1/011000001+1*0/111-10/1/10*0*001*1/001/11+0/010101+0+0*1+0011+01-0/00110+01"
    "*100+000/11-101"
)


def posed(name: str, first: str, second: str, length: int) -> Batch:
    """Two numbers as people write them, posed by a task."""
    known = TASKS[name]
    assert known.pose is not None
    operands = (np.array([parse_number(text, known.base or 0)]) for text in (first, second))
    return known.pose(stream(0, "place"), *operands, length)


def printed(row: Symbols, operator: str = "") -> str:
    """Symbols as Kaiser's slides print them: digits as they stand, pads as `_`."""
    marks = {0: "_", 11: operator, 12: operator}
    return "".join(marks.get(symbol, str(symbol - 1)) for symbol in row.tolist())


def test_the_sum_of_the_demo() -> None:
    """A1.2: 41 digits, twenty of them leading zeros."""
    batch = posed("add", "60701242265267635090", "40594590192222998643", 41)
    known = TASKS["add"]
    assert known.input_text(batch.inputs[0], 41) == "60701242265267635090+40594590192222998643"
    assert known.target_text(batch.targets[0], 41) == "0" * 20 + "101295832457490633733"


def test_a_sum_with_the_last_digit_first() -> None:
    """A3.3: 4530+0995 -> 4436, that is 354 + 5990 = 6344."""
    batch = posed("add_dn", "0354", "5990", 9)
    assert printed(batch.inputs[0, 0], "+") == "4530+0995"
    assert printed(batch.targets[0]) == "4436_____"


@pytest.mark.parametrize(
    ("problem", "answer"),
    [
        ("121", "1__"),
        ("10210", "1____"),
        ("01210", "01___"),
        ("01201", "001__"),
        ("11201", "011__"),
        ("11211", "1001_"),  # printed 101
        ("1012100", "101____"),
        ("1012010", "0101___"),
        ("011020101", "001111___"),  # printed 00111
    ],
)
def test_the_third_pattern_is_multiplication(problem: str, answer: str) -> None:
    """A.3: bits with the lowest first, `2` between the factors; two answers are misprints."""
    first, second = (part[::-1] for part in problem.split("2"))
    batch = posed("bmul_tfm", first, second, len(problem))
    assert printed(batch.inputs[0, 0], "2") == problem
    assert printed(batch.targets[0]) == answer


@pytest.mark.parametrize(
    ("name", "problem", "answer"),
    [
        *[("rev", "10", "01"), ("rev", "11", "11"), ("rev", "10110", "01101")],
        *[("rev", "1000", "0001"), ("rev", "1101", "1011")],
        *[("dup", "1_", "11"), ("dup", "10__", "1010"), ("dup", "101___", "101101")],
        ("dup", "1000____", "10001000"),
    ],
)
def test_the_first_two_patterns_are_reversal_and_duplication(
    name: str, problem: str, answer: str
) -> None:
    batch = TASKS[name].sample(stream(0, "pattern"), 400, len(problem), symbols=3)
    answers = {
        printed(inputs[0]): printed(targets)
        for inputs, targets in zip(batch.inputs, batch.targets, strict=True)
    }
    assert answers[problem] == answer


@pytest.mark.parametrize(
    ("expression", "value"), [(FIRST_EXPRESSION, 0b10100001011), (SECOND_EXPRESSION, 2240)]
)
def test_the_expressions_of_figure_5(expression: str, value: int) -> None:
    assert len(expression) == 201
    assert evaluate(expression, 2) == value


def test_binary_coded_decimals_mark_the_last_bit_of_a_digit() -> None:
    """9 = 1001, 7 = 0111, 63: lowest bit first, the fourth bit two symbols higher."""
    batch = posed("mulbcd", "09", "07", 17)
    nine, seven, nothing = [2, 1, 1, 4], [2, 2, 2, 3], [1, 1, 1, 3]
    three, six = [2, 2, 1, 3], [1, 2, 2, 3]
    assert batch.inputs[0, 0].tolist() == [*nine, *nothing, 12, *seven, *nothing]
    assert batch.targets[0].tolist() == [*three, *six, *nothing, *nothing, 0]
    assert TASKS["mulbcd"].input_text(batch.inputs[0], 17) == "09*07"
    assert TASKS["mulbcd"].target_text(batch.targets[0], 17) == "0063"
