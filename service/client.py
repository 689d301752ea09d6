"""The service over HTTP, for the CLI, scripts and tests. Answers are the plain JSON values.

with Client("http://127.0.0.1:8000") as client:
    sweep = client.submit(Path("figure2.yaml").read_text())
    for event in client.events(sweep["id"]):
        print(event.kind, event.body)
    print(client.success(sweep["id"]))
"""

import base64
import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx2

Json = dict[str, Any]

API = "/api/v1"
TIMEOUT_SECONDS = 30.0
#: A live stream sends something at least every 15 s; silence for longer is a lost connection.
SILENCE_SECONDS = 45.0
#: Times a broken stream is taken up again before the service counts as gone.
RECONNECTS = 10


class ServiceUnreachable(Exception):
    """Nothing answers at the service's address."""

    def __init__(self, url: str) -> None:
        self.url = url
        super().__init__(f"no service at {url}: start it with `ngpu serve`")


class ServiceRefused(Exception):
    """The service answered with a problem."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.problem = dict(problem)
        super().__init__(str(problem.get("detail") or problem.get("title") or f"HTTP {status}"))

    @property
    def about_spec(self) -> bool:
        """Whether a spec was read, and is wrong."""
        return self.problem.get("type") == "urn:ngpu:spec-error"

    @property
    def problems(self) -> list[Json]:
        """What is wrong, one by one: path, message, nearest."""
        return list(self.problem.get("problems", []))


class WrongDigest(Exception):
    """A file came that is not the one the record knows."""

    def __init__(self, seed_run_id: int) -> None:
        super().__init__(f"the weights of seed run {seed_run_id} are not those that were recorded")
        self.seed_run_id = seed_run_id


@dataclass(frozen=True, kw_only=True)
class StreamedEvent:
    """One event of a sweep's stream."""

    #: submitted, started, finished, …, or `progress`.
    kind: str
    body: Json
    #: Where to go on after a break; None for `progress`, which is not kept.
    revision: int | None


class Client:
    """One service.

    Args:
        server_url: Where it is, without `/api/v1`.
        token: What it asks for, if it does.
        http: A prepared HTTP client with that base URL, as for an app in this process.
    """

    def __init__(
        self, server_url: str, *, token: str = "", http: httpx2.Client | None = None
    ) -> None:
        self.server_url = server_url.rstrip("/")
        self._http = http or httpx2.Client(base_url=self.server_url, timeout=TIMEOUT_SECONDS)
        if token:
            self._http.headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._http.close()

    # sweeps

    def submit(
        self,
        spec: str | Mapping[str, Any],
        *,
        new: bool = False,
        idempotency_key: str | None = None,
    ) -> Json:
        """Submit a spec, YAML text or a mapping; `created` says whether the sweep is new."""
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return self._submit(spec, {"new": "true"} if new else {}, headers)

    def preview(self, spec: str | Mapping[str, Any]) -> Json:
        """What a spec would run; nothing is stored."""
        return self._submit(spec, {"dry_run": "true"}, {})

    def sweeps(self, *, state: str | None = None) -> Iterator[Json]:
        """Every sweep, the newest first."""
        return self._pages("/sweeps", {"state": state})

    def sweep(self, sweep_id: str) -> Json:
        """One sweep with its spec, rule and progress."""
        return self._get(f"/sweeps/{sweep_id}")

    def cancel(self, sweep_id: str) -> Json:
        """End a sweep now."""
        return self._json("POST", f"/sweeps/{sweep_id}/cancel")

    def pause(self, sweep_id: str) -> Json:
        """Give every pack back at its next checkpoint and wait."""
        return self._json("POST", f"/sweeps/{sweep_id}/pause")

    def resume(self, sweep_id: str) -> Json:
        """Take a paused sweep up again."""
        return self._json("POST", f"/sweeps/{sweep_id}/resume")

    def stop(self, sweep_id: str) -> Json:
        """Let the packs in training finish, and cancel all others."""
        return self._json("POST", f"/sweeps/{sweep_id}/stop")

    def prioritize(self, sweep_id: str, priority: int) -> Json:
        """Let a sweep go before those of a smaller priority."""
        body = {"priority": priority}
        return self._json("POST", f"/sweeps/{sweep_id}/priority", json=body)

    def retry(self, sweep_id: str, *, cancelled: bool = False) -> Json:
        """Queue the failed seed runs again, and the cancelled ones on request."""
        query = "?cancelled=true" if cancelled else ""
        return self._json("POST", f"/sweeps/{sweep_id}/retry{query}")

    def extend(self, sweep_id: str, count: int) -> Json:
        """Add seeds to every configuration of a sweep."""
        return self._json("POST", f"/sweeps/{sweep_id}/extend", json={"count": count})

    def delete(self, sweep_id: str) -> None:
        """Delete a sweep that has ended, with all its rows."""
        self._request("DELETE", f"/sweeps/{sweep_id}")

    def verify(self, sweep_id: str, *, checkpoints: bool = True) -> Json:
        """The proof that a sweep is whole; reading many checkpoints may take minutes."""
        query = "" if checkpoints else "?checkpoints=false"
        return self._json("GET", f"/sweeps/{sweep_id}/verify{query}", timeout=None)

    def success(self, sweep_id: str) -> list[Json]:
        """Success fractions, a row a configuration."""
        return list(self._pages(f"/sweeps/{sweep_id}/success", {}))

    def seeds(
        self, sweep_id: str, *, state: str | None = None, configuration: int | None = None
    ) -> Iterator[Json]:
        """Seed results, a row a seed run."""
        filters = {"state": state, "configuration": configuration}
        return self._pages(f"/sweeps/{sweep_id}/seeds", filters)

    def curves(self, sweep_id: str) -> Iterator[Json]:
        """Learning curves, a row a seed run, kind, step, task and length."""
        return self._pages(f"/sweeps/{sweep_id}/curves", {})

    def thresholds(self, sweep_id: str) -> list[Json]:
        """Carry thresholds, a row a seed run and task."""
        return list(self._pages(f"/sweeps/{sweep_id}/thresholds", {}))

    def probes(
        self, sweep_id: str, *, configuration: int | None = None, probe: str | None = None
    ) -> Iterator[Json]:
        """Probe errors, a row a seed run, task, probe and point."""
        filters = {"configuration": configuration, "probe": probe}
        return self._pages(f"/sweeps/{sweep_id}/probes", filters)

    def failures(self, sweep_id: str) -> list[Json]:
        """Seed runs that diverged, failed or were cancelled."""
        return list(self._pages(f"/sweeps/{sweep_id}/failures", {}))

    def events(self, sweep_id: str, *, after: int = 0) -> Iterator[StreamedEvent]:
        """The sweep's events as they happen, until it has ended; taken up again after a break."""
        breaks = 0
        while breaks <= RECONNECTS:
            # A stream that stops without its `end` was cut off, cleanly or not.
            with suppress(httpx2.TransportError):
                for event in self._stream(sweep_id, after):
                    if event.kind == "end":
                        return
                    breaks = 0
                    after = event.revision or after
                    yield event
            breaks += 1
            time.sleep(min(0.1 * 2**breaks, 5.0))
        raise ServiceUnreachable(self.server_url)

    # seed runs, tasks, models, the service itself

    def seed(self, seed_run_id: int) -> Json:
        """One seed run with its provenance."""
        return self._get(f"/seeds/{seed_run_id}")

    def seed_evaluations(self, seed_run_id: int) -> list[Json]:
        """Errors of one seed run by task and length."""
        return list(self._pages(f"/seeds/{seed_run_id}/evaluations", {}))

    def checkpoint(self, seed_run_id: int, target: Path) -> str:
        """Fetch a seed run's last checkpoint, of a finished one its final weights.

        Args:
            seed_run_id: The seed run.
            target: The file to write.

        Returns:
            Its SHA-256, which is the one the record holds.

        Raises:
            WrongDigest: What came is not what was recorded; nothing was kept.
        """
        path, found = f"{API}/seeds/{seed_run_id}/checkpoint", hashlib.sha256()
        try:
            with self._http.stream("GET", path, timeout=TIMEOUT_SECONDS) as response:
                if response.is_error:
                    response.read()
                _accepted(response)
                recorded = _sha256_of(response.headers.get("Repr-Digest", ""))
                with target.open("wb") as file:
                    for chunk in response.iter_bytes():
                        found.update(chunk)
                        file.write(chunk)
        except httpx2.TransportError as error:
            raise ServiceUnreachable(self.server_url) from error
        if found.hexdigest() != recorded:
            target.unlink()
            raise WrongDigest(seed_run_id)
        return recorded

    def seed_logs(self, seed_run_id: int, *, limit: int = 100) -> list[Json]:
        """The last lines of the log that name a seed run, the oldest first."""
        return self._get(f"/seeds/{seed_run_id}/logs", {"limit": limit})["items"]

    def sql(self, query: str, parameters: Sequence[Any] = (), *, limit: int | None = None) -> Json:
        """The answer to one read-only SQL query: columns, rows, whether there were more."""
        body = {"query": query, "parameters": list(parameters)}
        return self._json("POST", "/sql", json=body | ({"limit": limit} if limit else {}))

    def tasks(self) -> list[Json]:
        """Every task."""
        return list(self._pages("/tasks", {}))

    def task(self, name: str, *, length: int | None = None, count: int = 3, seed: int = 0) -> Json:
        """One task with examples."""
        asked = {"count": count, "seed": seed} | ({} if length is None else {"length": length})
        return self._get(f"/tasks/{name}", asked)

    def models(self) -> list[Json]:
        """Every family with its keys and defaults."""
        return list(self._pages("/models", {}))

    def schema(self) -> Json:
        """The JSON Schema of a spec."""
        return self._get("/schema/sweep")

    def version(self) -> Json:
        """What runs there."""
        return self._get("/version")

    def ready(self) -> bool:
        """Whether the service answers and its record is usable."""
        try:
            self._get("/readyz")
        except (ServiceUnreachable, ServiceRefused):
            return False
        return True

    def figures(self, *, sweep: str | None = None) -> list[Json]:
        """Every figure; of a sweep also what it lacks for each."""
        return list(self._pages("/figures", {"sweep": sweep}))

    def figure(self, name: str, sweeps: Sequence[str], *, format: str) -> bytes:
        """A figure drawn from sweeps, as a file: svg, png, pdf, csv or vega."""
        params = [("format", format), *(("sweep", one) for one in sweeps)]
        accept = {"Accept": "*/*"}
        path = f"/figures/{quote(name, safe='')}"
        # Many seeds take a while to read and to draw.
        return self._request("GET", path, params=params, headers=accept, timeout=None).content

    # HTTP

    def _submit(
        self, spec: str | Mapping[str, Any], params: dict[str, str], headers: dict[str, str]
    ) -> Json:
        as_text = isinstance(spec, str)
        content = spec if as_text else json.dumps(spec, allow_nan=False)
        media_type = "application/yaml" if as_text else "application/json"
        headers = {"Content-Type": media_type, **headers}
        return self._json("POST", "/sweeps", params=params, headers=headers, content=content)

    def _get(self, path: str, params: Mapping[str, Any] | None = None) -> Json:
        return self._json("GET", path, params=params)

    def _json(self, method: str, path: str, **options: Any) -> Json:
        return self._request(method, path, **options).json()

    def _request(self, method: str, path: str, **options: Any) -> httpx2.Response:
        headers = {"Accept": "application/json", **options.pop("headers", {})}
        try:
            response = self._http.request(method, API + path, headers=headers, **options)
        except httpx2.TransportError as error:
            raise ServiceUnreachable(self.server_url) from error
        return _accepted(response)

    def _pages(self, path: str, filters: Mapping[str, Any]) -> Iterator[Json]:
        params = {key: value for key, value in filters.items() if value is not None}
        while True:
            page = self._get(path, params)
            yield from page["items"]
            if page["next_cursor"] is None:
                return
            params["cursor"] = page["next_cursor"]

    def _stream(self, sweep_id: str, after: int) -> Iterator[StreamedEvent]:
        headers = {"Accept": "text/event-stream", "Last-Event-ID": str(after)}
        timeout = httpx2.Timeout(TIMEOUT_SECONDS, read=SILENCE_SECONDS)
        url = f"{API}/sweeps/{sweep_id}/events"
        with self._http.stream("GET", url, headers=headers, timeout=timeout) as response:
            if response.is_error:
                response.read()
            if _accepted(response).status_code == httpx2.codes.NO_CONTENT:
                yield StreamedEvent(kind="end", body={}, revision=None)
            yield from parse_events(response.iter_lines())


def _accepted(response: httpx2.Response) -> httpx2.Response:
    if not response.is_error:
        return response
    try:
        problem = response.json()
    except ValueError:
        problem = {"detail": f"the service answered {response.status_code}"}
    raise ServiceRefused(response.status_code, problem)


def _sha256_of(header: str) -> str:
    """The hexadecimal SHA-256 of a `Repr-Digest` header (RFC 9530); empty: there is none."""
    found = re.search(r"sha-256=:([A-Za-z0-9+/=]+):", header)
    return base64.b64decode(found[1]).hex() if found else ""


def parse_events(lines: Iterator[str]) -> Iterator[StreamedEvent]:
    """Server-sent events from their lines; comments are heartbeats and are left out."""
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield StreamedEvent(
                kind=fields.get("event", "message"),
                body=json.loads(fields["data"]),
                revision=int(fields["id"]) if "id" in fields else None,
            )
            fields = {}
