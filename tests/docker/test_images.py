"""What the images are made of, and the scripts they start with."""

import os
import re
import signal
import stat
import subprocess
import time
import tomllib
from importlib.metadata import requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
#: Dependencies of the program that its web process does without.
NOT_FOR_THE_WEB = {"torch", "ray", "pandas"}


def pins(path: str) -> dict[str, str]:
    """Pinned versions by name."""
    lines = (ROOT / path).read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def needed(roots: list[Requirement]) -> set[str]:
    """Names of what these need in turn, themselves included."""
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    left = [(canonicalize_name(one.name), frozenset(one.extras)) for one in roots]
    while left:
        name, extras = one = left.pop()
        if one in seen:
            continue
        seen.add(one)
        found.add(name)
        for wanted in map(Requirement, requires(name) or ()):
            choices = [{"extra": extra} for extra in ("", *extras)]
            if wanted.marker is None or any(map(wanted.marker.evaluate, choices)):
                left.append((canonicalize_name(wanted.name), frozenset(wanted.extras)))
    return found


def test_the_web_image_has_the_pinned_dependencies_without_those_of_training() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    roots = [Requirement(one) for one in project["dependencies"]]
    web = pins("docker/web-requirements.txt")
    assert web.items() <= pins("requirements.lock").items()
    assert web.keys() == needed([one for one in roots if one.name not in NOT_FOR_THE_WEB])
    assert not web.keys() & NOT_FOR_THE_WEB


def test_scripts_may_be_executed() -> None:
    for script in (ROOT / "docker").glob("*.sh"):
        assert script.stat().st_mode & stat.S_IXUSR, f"{script.name}: chmod +x"


def test_the_version_line_an_image_replaces_is_there_once() -> None:
    assert len(re.findall(r"^version = ", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)) == 1


def enter(folder: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PGPASSFILE": str(folder / "pgpass"), **variables}
    script = str(ROOT / "docker" / "entrypoint.sh")
    return subprocess.run(
        [script, *command], env=environment, capture_output=True, text=True, check=False
    )


def test_the_password_becomes_a_file_that_only_its_reader_may_open(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a:b\\c\n")
    done = enter(tmp_path, "sh", "-c", "umask; exit 3", POSTGRES_PASSWORD_FILE=str(secret))
    written = tmp_path / "pgpass"
    assert (done.returncode, done.stdout, done.stderr) == (3, "0022\n", "")
    assert written.read_text() == "*:*:*:*:a\\:b\\\\c\n"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600


def test_without_a_password_the_command_runs_alone(tmp_path: Path) -> None:
    assert enter(tmp_path, "echo", "two words").stdout == "two words\n"
    assert not (tmp_path / "pgpass").exists()


def test_a_missing_secret_stops_the_container(tmp_path: Path) -> None:
    done = enter(tmp_path, "echo", "started", POSTGRES_PASSWORD_FILE=str(tmp_path / "absent"))
    assert (done.returncode != 0, done.stdout) == (True, "")


class Pair:
    """docker/scheduler.sh over stand-ins for `ray` and `ngpu` that write down what they see."""

    def __init__(self, folder: Path, *, ray: str, ngpu: str) -> None:
        self.diary = folder / "diary"
        for name, program in (("ray", ray), ("ngpu", ngpu)):
            script = folder / name
            script.write_text(
                "#!/bin/bash\n"
                f'echo "{name} starts" >> {self.diary}\n'
                f"trap 'sleep 0.2; echo \"{name} ends\" >> {self.diary}; exit 0' TERM\n"
                f"{program}\n"
            )
            script.chmod(0o755)
        variables = {
            "PATH": f"{folder}:{os.environ['PATH']}",
            "NGPU_RAY_ADDRESS": "head:6379",
        }
        self.process = subprocess.Popen([str(ROOT / "docker" / "scheduler.sh")], env=variables)

    def lines(self) -> list[str]:
        return self.diary.read_text().splitlines() if self.diary.exists() else []

    def until_started(self) -> None:
        deadline = time.monotonic() + 20
        while len(self.lines()) < 2:
            assert time.monotonic() < deadline, self.lines()
            time.sleep(0.02)


LIVES = "while :; do sleep 0.05; done"


def test_the_scheduler_ends_before_the_node_under_its_runners(tmp_path: Path) -> None:
    pair = Pair(tmp_path, ray=LIVES, ngpu=LIVES)
    pair.until_started()
    time.sleep(0.2)
    pair.process.send_signal(signal.SIGTERM)
    assert pair.process.wait(timeout=20) == 0
    assert pair.lines()[2:] == ["ngpu ends", "ray ends"]


def test_a_lost_node_ends_the_container_so_that_it_is_started_again(tmp_path: Path) -> None:
    pair = Pair(tmp_path, ray="sleep 0.5", ngpu=LIVES)
    assert pair.process.wait(timeout=20) == 1
    assert pair.lines()[-1] == "ngpu ends"


def test_runners_that_wait_for_a_lost_node_do_not_hold_the_container_up(tmp_path: Path) -> None:
    stubborn = "trap 'sleep 60' TERM; while :; do sleep 0.05; done"
    pair = Pair(tmp_path, ray="sleep 0.5", ngpu=stubborn)
    pair.until_started()
    began = time.monotonic()
    assert pair.process.wait(timeout=20) == 1
    assert time.monotonic() - began < 10


def test_a_lost_scheduler_ends_the_container_so_that_it_is_started_again(tmp_path: Path) -> None:
    pair = Pair(tmp_path, ray=LIVES, ngpu="sleep 0.5; exit 0")
    assert pair.process.wait(timeout=20) == 1
    assert pair.lines()[-1] == "ray ends"
