"""Write the README's tree: a line a module, from its docstring (`make tree`)."""

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
START, END = "<!-- tree -->", "<!-- /tree -->"
ROOMS = ("ngpu_core", "sweeps", "db", "service", "benchmarks", "scripts")
OTHER = {
    "sweeps/specs/": "Every table and figure of the sources as a sweep, each also small.",
    "db/migrations/": "Alembic migrations, from the first schema on.",
    "service/templates/": "The pages' HTML (Jinja2).",
    "service/static/": "Stylesheet, small scripts, vendored htmx and Vega with their licences.",
    "docker/": "Images for the web process and for Ray nodes; `docker-compose.yml` joins them.",
    "tests/": "One folder a room, a real PostgreSQL, a real Ray, a real browser.",
    "docs/": "Architecture, reference, cookbook, results.",
}
WIDTH = 34


def modules(room: str) -> list[Path]:
    """A room's Python files, migrations left out."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", f"{room}/*.py"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [Path(line) for line in sorted(listed.split())]
    return [path for path in paths if "migrations" not in path.parts and (ROOT / path).exists()]


def sentence(path: Path) -> str:
    """The first line of a module's docstring."""
    documented = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    return documented.split("\n")[0]


def tree() -> str:
    """The tree as a code block."""
    lines = []
    for room in ROOMS:
        for path in modules(room):
            if path.name == "__init__.py":
                lines.append(f"{f'{path.parent}/':{WIDTH}} {sentence(path)}")
            else:
                lines.append(f"{'  ' + '/'.join(path.parts[1:]):{WIDTH}} {sentence(path)}")
        lines += [f"{k:{WIDTH}} {v}" for k, v in OTHER.items() if k.startswith(f"{room}/")]
    rooms = tuple(f"{room}/" for room in ROOMS)
    lines += [f"{k:{WIDTH}} {v}" for k, v in OTHER.items() if not k.startswith(rooms)]
    return "```\n" + "\n".join(lines) + "\n```"


def with_tree(readme: str) -> str:
    """The README with its tree renewed."""
    before, rest = readme.split(START)
    return f"{before}{START}\n{tree()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(with_tree(path.read_text()))
