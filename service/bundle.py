"""A sweep in one file for a reviewer: spec, record, tables, figures, and what they rest on.

Rows are copied from one snapshot into an SQLite record of their own; every other part is written
from that copy, so all parts say the same.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile

from sqlalchemy import (
    Boolean,
    Connection,
    Double,
    Engine,
    Integer,
    Select,
    Table,
    create_engine,
    insert,
    select,
)
from sqlalchemy.types import TypeEngine

from db import queries
from db.clock import UtcTime
from db.engine import open_engine, reading, upgrade, writing
from db.models import (
    carry_results,
    carry_trials,
    checkpoints,
    configurations,
    evaluations,
    events,
    packs,
    probe_results,
    seed_runs,
    sweeps,
    training_epochs,
)
from db.states import SeedState
from db.views import metadata as views
from service.dashboard.sweep_parts import carries_part, curves_part
from service.figures.evidence import read_evidence
from service.figures.figure import Missing
from service.figures.files import Format, written
from service.figures.registry import FIGURES
from service.formats import DASH, interval, percent
from service.prints import svg
from service.sentences import rule
from service.tables import csv_text
from service.verification import Verification, verify
from service.version import code_version
from sweeps.spec import dump_yaml, load_spec

if TYPE_CHECKING:
    import pandas

#: Tables in the order in which what they refer to is there before them.
_OF_SWEEP = (configurations, packs, seed_runs, events)
_OF_SEED_RUNS = (
    evaluations,
    training_epochs,
    carry_trials,
    carry_results,
    probe_results,
    checkpoints,
)
#: Rows copied at once.
_CHUNK = 5000


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What was written."""

    file: Path
    bytes: int
    #: Name in the file -> SHA-256 of the part.
    parts: Mapping[str, str]
    verification: Verification


class Unbundled(Exception):
    """A part cannot be written here; the text says what is missing."""


def write_bundle(engine: Engine, sweep_id: str, file: Path, checkpoints: Path | None) -> Bundle:
    """Write a sweep into one ZIP file; the sweep may be running.

    Args:
        engine: The record.
        sweep_id: The sweep.
        file: Where to; replaced once it is complete.
        checkpoints: Folder of checkpoints, which the proof reads; they are not in the bundle.

    Raises:
        SweepNotFound: There is no such sweep.
        Unbundled: pandas or pyarrow is not installed, as in the web image.
    """
    _require_parquet()
    with TemporaryDirectory(prefix="ngpu-bundle-") as folder:
        root = Path(folder)
        with reading(engine) as conn:
            proof = verify(conn, sweep_id, checkpoints)
            _copy_record(conn, sweep_id, root / "record.sqlite")
        copied = create_engine(f"sqlite:///file:{root / 'record.sqlite'}?mode=ro&uri=true")
        with reading(copied) as conn:
            _write_parts(conn, sweep_id, root, proof)
        return _zip(root, file, proof)


def _require_parquet() -> None:
    try:
        import pandas  # noqa: F401
        import pyarrow  # type: ignore[import-untyped]  # noqa: F401
    except ImportError as error:
        raise Unbundled(
            f"{error.name} is not installed here: make the bundle where training is installed"
        ) from error


def _copy_record(conn: Connection, sweep_id: str, path: Path) -> None:
    """An SQLite record of one sweep's rows, views and all, in one file."""
    copy = open_engine(f"sqlite:///{path}")
    upgrade(copy)
    of_sweep = select(seed_runs.c.id).where(seed_runs.c.sweep_id == sweep_id)
    with writing(copy) as target:
        _copy(conn, target, sweeps, select(sweeps).where(sweeps.c.id == sweep_id))
        for table in _OF_SWEEP:
            rows = select(table).where(table.c.sweep_id == sweep_id).order_by(*table.primary_key)
            _copy(conn, target, table, rows)
        for table in _OF_SEED_RUNS:
            _copy(conn, target, table, select(table).where(table.c.seed_run_id.in_(of_sweep)))
    copy.dispose()
    # Without a write-ahead journal it opens on read-only media too.
    with closing(sqlite3.connect(path)) as single:
        single.execute("PRAGMA journal_mode = DELETE")


def _copy(source: Connection, target: Connection, table: Table, rows: Select[Any]) -> None:
    result = source.execute(rows.execution_options(yield_per=_CHUNK))
    for some in result.mappings().partitions():
        target.execute(insert(table), [dict(row) for row in some])


def _write_parts(conn: Connection, sweep_id: str, root: Path, proof: Verification) -> None:
    sweep = queries.sweep(conn, sweep_id)
    (root / "spec.yaml").write_text(dump_yaml(load_spec(sweep["spec"])))
    (root / "verification.json").write_text(proof.model_dump_json(indent=2) + "\n")
    for folder in ("csv", "parquet"):
        (root / folder).mkdir()
    for table in (*views.tables.values(), evaluations):
        rows = [dict(row) for row in conn.execute(select(table)).mappings()]
        text = csv_text(list(table.c.keys()), rows)
        (root / "csv" / f"{table.name}.csv").write_text(text, newline="")
        _frame(table, rows).to_parquet(root / "parquet" / f"{table.name}.parquet", index=False)
    (root / "figures").mkdir()
    for name, picture in _figures(conn, sweep):
        (root / "figures" / name).write_text(picture)
    (root / "papers").mkdir()
    for name, picture in _papers(conn, sweep_id):
        (root / "papers" / name).write_text(picture, newline="")
    (root / "README.md").write_text(_readme(conn, sweep, root, proof))


def _papers(conn: Connection, sweep_id: str) -> Iterator[tuple[str, str]]:
    """The tables and figures of the sources that the sweep can show, and their numbers."""
    evidence = read_evidence(conn, [sweep_id])
    for name, entry in FIGURES.items():
        with suppress(Missing):
            figure = entry.draw(evidence)
            for format_ in (Format.SVG, Format.CSV):
                yield f"{name}.{format_}", written(figure, format_).decode()


def _figures(conn: Connection, sweep: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The dashboard's learning curves and carries, every configuration's."""
    for one in queries.configurations(conn, sweep["id"]):
        curves = curves_part(conn, sweep, one["id"])["curves"]
        for number, chart in enumerate(curves, start=1):
            title = f"{chart['name']}: {chart['label']}"
            yield f"curve-{one['position']}-{number}.svg", svg(chart["spec"], title)
        carries = carries_part(conn, sweep, one["id"])["survivals"]
        for number, chart in enumerate(carries, start=1):
            yield f"carries-{one['position']}-{number}.svg", svg(chart["spec"], chart["label"])


def _frame(table: Table, rows: Sequence[Mapping[str, Any]]) -> "pandas.DataFrame":
    import pandas

    columns = {
        column.name: pandas.Series(
            [_plain(row[column.name]) for row in rows], dtype=_dtype(column.type)
        )
        for column in table.c
    }
    return pandas.DataFrame(columns)


def _dtype(kind: TypeEngine[Any]) -> str:
    """A column has the same type in every sweep, whatever its values, and may be empty."""
    if isinstance(kind, Boolean):
        return "boolean"
    if isinstance(kind, Integer):
        return "Int64"
    if isinstance(kind, UtcTime):
        return "datetime64[ms, UTC]"
    return "Float64" if isinstance(kind, Double) else "string"


def _plain(value: Any) -> Any:
    """JSON as its text, for a type that every reader of Parquet knows."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value


def _zip(root: Path, file: Path, proof: Verification) -> Bundle:
    beside = file.with_name(f"{file.name}.tmp")
    parts = {name: _sha256(root / name) for name in _names(root)}
    try:
        with ZipFile(beside, "w", ZIP_DEFLATED) as bundle:
            for name in parts:
                bundle.write(root / name, name)
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)
    return Bundle(file=file, bytes=file.stat().st_size, parts=parts, verification=proof)


def _names(root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_CODES = select(seed_runs.c.code_version).distinct()


def _readme(conn: Connection, sweep: Mapping[str, Any], root: Path, proof: Verification) -> str:
    table = "\n".join(
        f"| {row['configuration']} | {row['succeeded']}/{row['counted']} | {_share(row)} "
        f"| {row['requested']} | {row['excluded']} |"
        for row in queries.success(conn, sweep["id"])
    )
    trained = sorted({str(code) for code in conn.execute(_CODES).scalars()})
    parts = "\n".join(f"{_sha256(root / name)}  {name}" for name in _names(root))
    counts = ", ".join(f"{getattr(proof, state)} {state}" for state in SeedState)
    verdict = "holds" if proof.holds else f"does not hold: {proof.findings_total} findings"
    return f"""# {sweep["name"]}

Sweep {sweep["id"]}, {sweep["state"]}; digest of its spec as submitted: {sweep["digest"]}.
Code: submitted by {sweep["code_version"]}, trained by {", ".join(trained)},
bundled by {code_version()}.

{rule(sweep)}

| configuration | succeeded | fraction with 95 % interval | requested | excluded |
|---|---|---|---|---|
{table}

Expected are {proof.expected} seed runs, {proof.found} are there: {counts}.
The proof {verdict} (verification.json).

- `spec.yaml`: what was submitted, complete; `ngpu sweep submit spec.yaml` trains it again.
- `record.sqlite`: every row of this sweep with the views; ask it with `sqlite3 record.sqlite`.
- `csv/`, `parquet/`: the views, and the raw counts of every test.
- `figures/`: learning curves (median over seeds, 10–90 % band) and carries, by configuration.
- `papers/`: the tables and figures of the sources that this sweep can show, published values
  beside these, with their numbers as CSV.

SHA-256 of each part:

```
{parts}
```
"""


def _share(row: Mapping[str, Any]) -> str:
    if row["fraction"] is None:
        return DASH
    return f"{percent(row['fraction'])} ({interval(row['low'], row['high'])})"
