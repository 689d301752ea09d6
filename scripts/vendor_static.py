"""Fetch the dashboard's third-party JavaScript again, each library beside its licence.

Run it by hand to move to newer versions: ``python scripts/vendor_static.py``. htmx comes from npm
(which checks the archive's digest); the Vega bundle comes out of vl-convert, so that the page and
the exported SVG and PNG are drawn by the same engine. The service itself never fetches anything.
"""

import subprocess
import tarfile
import tempfile
from pathlib import Path

import vl_convert

VENDOR = Path(__file__).resolve().parent.parent / "service" / "static" / "vendor"
HTMX = "2.0.11"
#: Packages inside the Vega bundle whose licences ship with it. All of d3 has one licence text.
BUNDLED = (
    "vega",
    "vega-lite",
    "vega-embed",
    "vega-tooltip",
    "vega-interpreter",
    "d3",
    "topojson-client",
)


def npm_files(package: str, *names: str) -> dict[str, bytes]:
    """The named files of an npm package, e.g. ``npm_files("htmx.org@2.0.11", "LICENSE")``."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["npm", "pack", "--silent", package], cwd=folder, check=True)
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            files = {name: tar.extractfile(f"package/{name}") for name in names}
            return {name: file.read() for name, file in files.items() if file is not None}


def vendor_htmx() -> None:
    """The minified htmx and its licence."""
    files = npm_files(f"htmx.org@{HTMX}", "dist/htmx.min.js", "LICENSE")
    (VENDOR / "htmx.min.js").write_bytes(files["dist/htmx.min.js"])
    (VENDOR / "htmx.LICENSE.txt").write_bytes(files["LICENSE"])


def vendor_vega() -> None:
    """Vega, Vega-Lite and Vega-Embed as one ES module, and the licences of what is inside."""
    (VENDOR / "vega.bundle.js").write_text(vl_convert.javascript_bundle(), encoding="utf-8")
    licences = [f"{name}\n\n{npm_files(name, 'LICENSE')['LICENSE'].decode()}" for name in BUNDLED]
    text = f"\n{'-' * 72}\n".join(licences)
    (VENDOR / "vega.LICENSE.txt").write_text(text, encoding="utf-8")


def versions() -> str:
    """What lies in the folder, a line a file."""
    return (
        f"htmx.min.js: htmx {HTMX} (npm htmx.org)\n"
        f"vega.bundle.js: Vega {vl_convert.get_vega_version()}, "
        f"Vega-Lite {vl_convert.get_vegalite_versions()[-1]}, "
        f"Vega-Embed {vl_convert.get_vega_embed_version()} (vl-convert {vl_convert.__version__})\n"
        "Fetched by scripts/vendor_static.py.\n"
    )


def main() -> None:
    """Fetch everything and write the versions beside it."""
    VENDOR.mkdir(parents=True, exist_ok=True)
    vendor_htmx()
    vendor_vega()
    (VENDOR / "VERSIONS.txt").write_text(versions(), encoding="utf-8")


if __name__ == "__main__":
    main()
