"""What a user submits: a named grid of configurations times seeds, with its success rule.

    parse_spec(text, format="yaml")   -> SweepSpec, or SpecError with every problem at once
    spec.canonical()                  the complete document; load_spec reads it back
    spec.digest()                     the same for the same sweep, however it is written

A `SweepSpec` that exists is valid: every configuration can be built and fits its tasks.
"""

from typing import Any

import yaml
from pydantic import (
    Field,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from sweeps.canonical import digest
from sweeps.grid import Grid
from sweeps.overrides import Overrides, flat
from sweeps.problems import Problem, SpecError
from sweeps.schema import describe_overrides
from sweeps.terms import Header, Resources, Retry, Schedule, Seeds, Success
from sweeps.text import Format, plain_value, read_document
from sweeps.validation import MAX_CONFIGURATIONS, MAX_SEED_RUNS, validated

__all__ = [
    "MAX_CONFIGURATIONS",
    "MAX_SEED_RUNS",
    "Problem",
    "Resources",
    "Retry",
    "Schedule",
    "Seeds",
    "SpecError",
    "Success",
    "SweepSpec",
    "dump_yaml",
    "load_spec",
    "parse_spec",
    "spec_json_schema",
]


class SweepSpec(Header):
    """A sweep: configurations × seeds."""

    base: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """What every configuration sets, by section; all else has its family's default."""
    grid: dict[str, dict[str, Overrides]] = Field(default_factory=dict)
    """Axis -> level -> what the level sets. The sweep is the product of the axes."""
    exclude: tuple[dict[str, str], ...] = ()
    """Combinations to leave out: points that agree with all levels of an entry."""
    seeds: Seeds
    """Which seeds each configuration is trained with."""
    success: Success
    """When a seed counts as successful."""
    resources: Resources = Resources()
    """What one trial holds."""
    schedule: Schedule = Schedule()
    """When its trials run, beside those of other sweeps."""
    retry: Retry = Retry()
    """When a seed is given up."""

    @model_validator(mode="wrap")
    @classmethod
    def _complete(
        cls, document: Any, handler: ModelWrapValidatorHandler["SweepSpec"]
    ) -> "SweepSpec":
        return document if isinstance(document, cls) else handler(validated(document))

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return describe_overrides(handler.resolve_ref_schema(handler(core_schema)))

    @property
    def points(self) -> Grid:
        """The grid, ready to be walked."""
        return Grid(base=flat(self.base), axes=self.grid, exclude=self.exclude)

    def canonical(self) -> dict[str, Any]:
        """The complete document in plain JSON values, every default spelled out but the run's."""
        return self.model_dump(mode="json")

    def digest(self) -> str:
        """SHA-256 of what the sweep means.

        It covers the name, the labels, every resolved configuration with its levels, the seeds and
        all terms but the schedule; neither how the document was written nor the order of axes and
        levels.
        """
        document = self.canonical()
        for part in ("base", "grid", "exclude", "schedule"):
            del document[part]
        grid = self.points
        configurations = [
            [digest(point), digest(grid.run(point).to_mapping())] for point in grid.points()
        ]
        return digest({**document, "configurations": sorted(configurations)})


def parse_spec(text: str, *, format: Format = "yaml") -> SweepSpec:
    """Read a spec from its text.

    Raises:
        SpecError: with every problem found, each at its path in the text.
    """
    return load_spec(read_document(text, format))


def load_spec(document: object) -> SweepSpec:
    """Read a spec from plain values.

    Raises:
        SpecError: with every problem found, each at its path in the document.
    """
    try:
        return SweepSpec.model_validate(document)
    except ValidationError as error:
        for details in error.errors():
            if isinstance(cause := details.get("ctx", {}).get("error"), SpecError):
                raise cause from None
        raise


def spec_json_schema() -> dict[str, Any]:
    """The JSON Schema of a spec, with every key's default and meaning; for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | (
        SweepSpec.model_json_schema()
    )


class _Dumper(yaml.SafeDumper):
    """Writes texts so that `read_document` gives the same texts back."""

    def represent_text(self, text: str) -> yaml.ScalarNode:
        """Quote what would be read as something else than text."""
        style = None if isinstance(plain_value(text), str) else "'"
        return self.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    def ignore_aliases(self, data: Any) -> bool:
        """Never write aliases: they are refused when read."""
        return True


_Dumper.add_representer(str, _Dumper.represent_text)


def dump_yaml(spec: SweepSpec) -> str:
    """The canonical document as YAML; `parse_spec` gives an equal spec back."""
    return yaml.dump(spec.canonical(), Dumper=_Dumper, sort_keys=False, allow_unicode=True)
