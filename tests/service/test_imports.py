"""What a process loads: the web process and a quick command load nothing heavy."""

import subprocess
import sys

import pytest

HEAVY = ("torch", "ray", "pandas")


def loaded(statement: str) -> set[str]:
    """The heavy packages a fresh interpreter has after a statement."""
    program = f"import sys; {statement}; print(*[n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "statement",
    [
        "import service.app",
        "from service.app import create_app; from service.settings import Settings; "
        "create_app(Settings())",
        "import service.supervisor",
        "import service.scheduler",
        "import service.demo",
    ],
)
def test_the_service_s_own_processes_load_neither_torch_nor_ray(statement: str) -> None:
    assert not loaded(statement) & {"torch", "ray"}


def test_the_command_line_starts_without_anything_heavy() -> None:
    slow = ("fastapi", "sqlalchemy", "numpy", "scipy", "httpx2", "altair")
    program = f"import sys, service.cli; print(*[n for n in {slow + HEAVY!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120
    )

    assert done.stdout.split() == []
