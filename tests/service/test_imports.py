"""What a process loads: the web process and a quick command load nothing heavy."""

import subprocess
import sys

HEAVY = ("torch", "ray", "pandas")


LIGHT = ("fastapi", "sqlalchemy", "numpy", "scipy", "httpx2", "altair")


def loaded(statement: str, packages: tuple[str, ...]) -> list[str]:
    """Which of the packages a fresh interpreter has after a statement."""
    program = f"import sys\n{statement}\nprint(*[n for n in {packages!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout.split()


def test_the_service_s_own_processes_load_neither_torch_nor_ray() -> None:
    statement = """
import service.demo, service.control.scheduler, service.control.supervisor
from service.app import create_app
from service.settings import Settings
create_app(Settings()).openapi()"""

    assert loaded(statement, ("torch", "ray")) == []


def test_the_command_line_starts_without_anything_heavy() -> None:
    assert loaded("import service.cli", LIGHT + HEAVY) == []
