"""The parts of a seed run's page, each from the named queries."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from db import queries
from ngpu_core.statistics import fraction_interval
from service.dashboard import charts
from service.dashboard.provenance import configuration_keys, longest_trained
from service.formats import duration
from service.sentences import metric

Row = Mapping[str, Any]
Context = dict[str, Any]


def curves_part(conn: Connection, seed: Row, sweep: Row) -> Context:
    """The error of the sweep's success rule against step, a chart a task, without short tests."""
    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in queries.seed_curves(conn, seed["seed_run_id"]):
        if row["kind"] == "training" or row["length"] in seed["run"]["evaluation"]["lengths"]:
            by_task[row["task"]].append(row)
    drawn = [_curve(task, rows, seed, sweep) for task, rows in by_task.items()]
    return {"curves": drawn}


def _curve(task: str, rows: list[Row], seed: Row, sweep: Row) -> Context:
    spec = charts.seed_chart(
        rows,
        below=sweep["success_below"],
        last_step=seed["max_steps"],
        column=sweep["success_metric"],
        error=metric(sweep),
    )
    label = f"{metric(sweep)} of seed {seed['seed']} on {task} against step"
    return {"task": task, "spec": spec, "label": label}


def lengths_part(conn: Connection, seed: Row) -> Context:
    """The last test by length, a table and chart a task."""
    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in queries.evaluations_by_length(conn, seed["seed_run_id"]):
        by_task[row["task"]].append(_with_interval(row))
    trained_to = longest_trained(seed["run"])
    groups = [
        {
            "task": task,
            "rows": rows,
            "step": max(row["step"] for row in rows),
            "spec": charts.lengths_chart(rows, trained_to=trained_to),
            "label": f"sequence error of seed {seed['seed']} on {task} by length",
        }
        for task, rows in by_task.items()
    ]
    return {"lengths": groups, "trained_to": trained_to}


def _with_interval(row: Row) -> Row:
    within = fraction_interval(row["wrong_sequences"], row["sequences"])
    return {**row, "low": within.low, "high": within.high}


def carries_part(conn: Connection, seed: Row) -> Context:
    """Error by carry length, a chart a task."""
    by_task: dict[str, list[Row]] = defaultdict(list)
    for row in queries.carry_trials(conn, seed["seed_run_id"]):
        by_task[row["task"]].append(row)
    groups = [
        {
            "task": task,
            "threshold": seed["carry_threshold"],
            "limit": seed["carry_limit"],
            "spec": charts.carries_chart(rows, threshold=seed["carry_threshold"]),
            "label": f"error of seed {seed['seed']} on {task} by carry length",
        }
        for task, rows in by_task.items()
    ]
    return {"carries": groups}


def provenance_part(seed: Row) -> Context:
    """Where and with what the seed run was trained."""
    keys = configuration_keys(seed["run"])
    return {
        "every_key": keys,
        "changed": [key for key in keys if key.changed],
        "provenance": [(name, value) for name, value in _provenance(seed) if value is not None],
    }


def _provenance(seed: Row) -> list[tuple[str, Any]]:
    return [
        ("code version", seed["code_version"]),
        ("host", seed["host"]),
        ("engine", seed["engine"]),
        ("instruction set", seed["instruction_set"]),
        ("taken over from seed run", seed["reused_from"]),
        ("attempts", seed["attempts"]),
        ("started", seed["started_at"]),
        ("ended", seed["finished_at"]),
        ("time", duration(seed["wall_seconds"])),
        ("pack", seed["pack_id"]),
        ("configuration digest", seed["configuration_digest"]),
        ("spec digest, as submitted", seed["sweep_digest"]),
        ("checkpoint step", seed["checkpoint_step"]),
        ("checkpoint sha256", seed["checkpoint_sha256"]),
        ("checkpoint file", seed["checkpoint_path"]),
        ("checkpoint bytes", seed["checkpoint_bytes"]),
    ]
