"""Element-wise functions are compiled for a GPU only, and run as written where that fails."""

import logging

import torch

from ngpu_core.engines import fused


def doubled(x):
    """Twice x."""
    return 2 * x


def test_on_a_cpu_a_function_runs_as_it_is_written(monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    assert fused.fused(doubled)(torch.ones(2)).tolist() == [2, 2]
    assert fused.fused(doubled).__doc__ == "Twice x."


def test_a_function_without_a_compiler_runs_as_it_is_written_and_the_log_says_so(
    monkeypatch, caplog
):
    def compile_nothing(function, dynamic):
        def call(*args):
            raise RuntimeError("no compiler")

        return call

    monkeypatch.setattr(torch, "compile", compile_nothing)
    with caplog.at_level(logging.WARNING):
        call = fused._compiled(doubled)
        assert call(torch.ones(2)).tolist() == [2, 2]
        assert call(torch.ones(3)).tolist() == [2, 2, 2]

    assert [record.message for record in caplog.records] == ["doubled runs unfused: no compiler"]
