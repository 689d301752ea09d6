"""Traces: the states of the definition, from the first to the one the answer is read off."""

import struct
import zlib

import numpy as np
import pytest
import torch

from ngpu_core.engines.choice import choose
from ngpu_core.evaluation.generalization import to_bin
from ngpu_core.evaluation.predictor import TrainedSeed
from ngpu_core.evaluation.trace import Trace, png, trace, write_pictures
from ngpu_core.models.families import network
from ngpu_core.packing import SeedPack
from ngpu_core.tasks.registry import task
from tests.ngpu_core.configurations import run_config

CASES = [("neural_gpu", "badd", 11), ("diagonal_neural_gpu", "badd_dn", 12)]


def seed_of(family, **changes):
    config = run_config(family, **changes)
    pack = SeedPack.initialize(network(config.model), [1], "cpu")
    return TrainedSeed(engine=choose(config), parameters=pack.parameters)


def question(written, length, count=1):
    return task(written).sample(np.random.default_rng(0), count, length)


@pytest.mark.parametrize(("family", "written", "length"), CASES)
def test_the_answer_is_read_off_the_last_state_and_the_first_is_the_embedding(
    family, written, length
):
    seed = seed_of(family)
    found = trace(seed, question(written, length))
    model = seed.network.config

    steps = length + model.extra_steps
    assert found.states.shape == (steps + 1, model.filters, model.height, length)
    last = torch.from_numpy(found.states[-1, :, 0])
    logits = torch.einsum("ml,cm->lc", last, seed.parameters["output.weight"][0])
    logits = logits + seed.parameters["output.bias"][0]
    one = to_bin([found.answer.questions], length, "cpu")
    assert torch.allclose(logits, seed.network.forward(seed.parameters, [one]).logits[0][0, 0])
    assert np.array_equal(found.answer.written[0], logits.argmax(-1).numpy())
    inputs = found.answer.questions.inputs[0, 0]
    for symbol in set(inputs.tolist()):  # equal symbols have equal columns before any step
        columns = found.states[0][:, 0, inputs == symbol]
        assert (columns == columns[:, :1]).all()


@pytest.mark.parametrize(("family", "written", "length"), CASES)
def test_watching_changes_nothing_and_a_state_follows_from_the_one_before(family, written, length):
    seed = seed_of(family)
    one = to_bin([question(written, length)], length, "cpu")
    plain = seed.network.forward(seed.parameters, [one]).logits[0]
    seen = []
    watched = seed.network.forward(seed.parameters, [one], watch=seen.append).logits[0]

    assert torch.equal(plain, watched)
    assert {tuple(state.shape[:2]) for state in seen} == {(1, 1)}


def test_each_map_is_scaled_to_its_own_range():
    states = np.array([[[[-1.0, 0.0]], [[5.0, 5.0]]], [[[1.0, 0.5]], [[5.0, 5.0]]]], np.float32)
    found = Trace(states=states, answer=trace(seed_of("neural_gpu"), question("badd", 7)).answer)

    assert found.picture(0).tolist() == [[0, 128], [255, 191]]
    assert found.picture(1).tolist() == [[0, 0], [0, 0]]


def decoded(data):
    """The pixels of a grey PNG without filters, by its specification."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, parts = 8, {}
    while place < len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        body = data[place + 8 : place + 8 + length]
        [check] = struct.unpack(">I", data[place + 8 + length : place + 12 + length])
        assert check == zlib.crc32(kind + body)
        parts[kind] = body
        place += 12 + length
    width, height, depth, colour, *_ = struct.unpack(">IIBBBBB", parts[b"IHDR"])
    assert (depth, colour, list(parts)[-1]) == (8, 0, b"IEND")
    lines = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:]


def test_pictures_are_pngs_of_a_line_a_step_and_a_column_a_symbol(tmp_path):
    pixels = np.arange(15, dtype=np.uint8).reshape(3, 5)
    assert np.array_equal(decoded(png(pixels)), pixels)

    seed = seed_of("diagonal_neural_gpu")
    found = trace(seed, question("badd_dn", 12))
    files = write_pictures(found, tmp_path / "deep" / "trace")
    assert [file.name for file in files[:2]] == ["map-000.png", "map-001.png"]
    assert len(files) == 6
    for channel, file in enumerate(files):
        picture = decoded(file.read_bytes())
        assert picture.shape == (13, 12)
        assert np.array_equal(picture, found.picture(channel))
    rows = write_pictures(trace(seed_of("neural_gpu"), question("badd", 7)), tmp_path / "rows")
    assert [file.name for file in rows[:2]] == ["map-000-row-0.png", "map-000-row-1.png"]
    assert len(rows) == 4 * 4


def test_what_cannot_be_traced_is_refused():
    seed = seed_of("neural_gpu")
    with pytest.raises(ValueError, match="2 problems"):
        trace(seed, question("badd", 7, count=2))
    with pytest.raises(ValueError, match="too long"):
        trace(seed, question("badd", 5001))
