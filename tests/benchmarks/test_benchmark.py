"""One interleaved run from the command line to the JSON, at the smallest sizes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.arguments import peers
from benchmarks.ceilings import compiler
from benchmarks.evaluation import evaluate
from benchmarks.lineup import Place
from benchmarks.measure import summary
from benchmarks.workload import Workload

ROOT = Path(__file__).resolve().parents[2]
ALWAYS = {
    "peers",
    "ratios",
    "fraction_of_peak",
    "peak_bytes",
    "machine",
    "quartiles",
    "peer_peak_bytes",
    "left_out",
    "backend",
}


def test_the_command_line_prints_one_object_and_nothing_else() -> None:
    size = ["--family", "neural_gpu", "--filters", "4", "--length", "5", "--seeds", "2"]
    run = ["--batch", "2", "--rounds", "2", "--seconds", "0.01", "--threads", "1", "--json"]
    command = [sys.executable, "-m", "benchmarks.training", *size, *run]
    told = subprocess.run(
        [*command, "--against", "naive,tensorflow"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    result = json.loads(told.stdout)

    assert result.keys() >= ALWAYS | {"seed_steps_per_second"}
    assert list(result["peers"]) == ["naive"]
    own, loop = result["seed_steps_per_second"], result["peers"]["naive"]
    assert result["ratios"]["naive"] == pytest.approx(own / loop)
    assert "trains diagonal_neural_gpu" in result["left_out"]["tensorflow"]
    assert result["machine"]["versions"]["torch"]
    assert (result["fraction_of_peak"] is None) == (compiler() is None)
    assert result["peak_bytes"] > 0
    assert "of the" in summary(result) or result["fraction_of_peak"] is None


def test_a_test_at_a_long_length_counts_sequences_and_symbols() -> None:
    workload = Workload(
        family="diagonal_neural_gpu", filters=6, lengths=(21,), seeds=1, testing=True
    )

    result = evaluate(
        workload,
        Place(threads=1),
        sequences=6,
        peer_sequences=2,
        rounds=2,
        against=("naive",),
    )

    assert result.keys() >= ALWAYS | {"sequences_per_second", "symbols_per_second"}
    assert result["sequences"] == 6
    assert result["symbols_per_second"] == pytest.approx(21 * result["sequences_per_second"])
    assert "sequences/s" in summary(result)


def test_an_unknown_peer_is_refused_with_those_there_are() -> None:
    assert peers("jax,naive") == ("naive", "jax")
    with pytest.raises(Exception, match="no peer 'keras': one of naive,"):
        peers("keras")
