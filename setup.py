"""Builds the native engine's library; everything else about the package is in pyproject.toml.

Without a working compiler the installation goes on: `optional` extensions may fail, and the torch
engine takes over.
"""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from setuptools import Extension, setup

HERE = Path(__file__).parent
NATIVE = HERE / "ngpu_core" / "engines"

# Loaded by its path: importing ngpu_core would need torch, which a build does not have.
spec = spec_from_file_location("native_build", NATIVE / "native_build.py")
assert spec
assert spec.loader
native_build = module_from_spec(spec)
spec.loader.exec_module(native_build)

sources = NATIVE / "native"
setup(
    ext_modules=[
        Extension(
            f"ngpu_core.engines._native_{name}",
            sources=[str((sources / "run.cpp").relative_to(HERE))],
            depends=[str(path.relative_to(HERE)) for path in sorted(sources.glob("*.h"))],
            language="c++",
            extra_compile_args=[*native_build.FLAGS, *flags],
            extra_link_args=["-pthread"],
            optional=True,
        )
        for name, flags in native_build.targets().items()
    ]
)
