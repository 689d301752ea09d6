"""What a benchmark computes, and how its operations and bytes are counted."""

import pytest

from benchmarks.peers.naive import NaiveLoop
from benchmarks.rows import CPU, GPU
from benchmarks.traffic import OperatorBytes, engine_bytes, loop_bytes
from benchmarks.workload import Workload


@pytest.mark.parametrize(("length", "gigaflop"), [(8, 1.53), (20, 9.56), (41, 40.2)])
def test_a_step_of_the_neural_gpu_costs_what_was_counted_by_hand(
    length: int, gigaflop: float
) -> None:
    workload = Workload(family="neural_gpu", filters=24, lengths=(length,), seeds=4)

    assert workload.flop == pytest.approx(gigaflop * 1e9, rel=0.01)


def test_a_step_of_nine_bins_costs_what_was_counted_by_hand() -> None:
    assert CPU["diagonal-96-nine-bins"].workload.flop == pytest.approx(98.9e9, rel=0.001)


def test_a_test_costs_a_third_of_a_training_step_a_sequence() -> None:
    training = Workload(family="neural_gpu", filters=24, lengths=(20,), seeds=1, batch=1)
    test = Workload(family="neural_gpu", filters=24, lengths=(20,), seeds=1, testing=True)

    assert training.flop == pytest.approx(3 * test.flop)


@pytest.mark.parametrize("row", [*CPU.values(), *GPU.values()], ids=lambda row: row.title)
def test_every_row_of_the_table_is_a_configuration(row) -> None:
    workload = row.workload

    assert Workload.from_json(workload.to_json()) == workload
    assert workload.config.training.bins == workload.lengths
    assert workload.config.model.extra_steps == 0
    assert bool(row.sequences[0]) == workload.testing


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ValueError, match="trains on one a step"):
        Workload(family="neural_gpu", filters=4, lengths=(5, 8), seeds=1)
    with pytest.raises(ValueError, match="one seed at one length"):
        Workload(family="neural_gpu", filters=4, lengths=(5,), seeds=2, testing=True)


def test_operators_are_counted_by_what_they_read_and_write() -> None:
    values = NaiveLoop(CPU["diagonal-24-four-bins"].workload.config, 0).model.output.weight
    with OperatorBytes() as counted:
        values.detach().t().add(1.0)  # two views, then one read and one write

    assert counted.total == 2 * 4 * values.numel()


def test_the_loop_moves_many_times_what_the_engine_keeps() -> None:
    workload = Workload(family="neural_gpu", filters=8, lengths=(6,), seeds=1, batch=4)

    # 6 times, 2 layers, 4 rows, 6 columns, 8 maps, 4 values, 4 bytes, written and read
    assert engine_bytes(workload) == 4 * 6 * 2 * 4 * 6 * 8 * 4 * 4 * 2
    assert loop_bytes(workload) > 5 * engine_bytes(workload)
