"""The terms of a sweep: which seeds, what counts as success, which resources, when to give up."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)

from sweeps.keys import LARGEST, NO_TRUTH_VALUE, Name, note, one_line
from sweeps.problems import Problems, join

#: Seeds are below this.
SEED_LIMIT = 2**31


class Terms(BaseModel):
    """A frozen part of a spec that knows all its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Seeds(Terms):
    """Which seeds every configuration is trained with: `count` of them from `first` on."""

    first: Annotated[int, Field(ge=0, le=LARGEST), NO_TRUTH_VALUE] = 0
    """The smallest seed."""
    count: Annotated[int, Field(ge=1, le=LARGEST), NO_TRUTH_VALUE]
    """How many; consecutive."""

    @property
    def all(self) -> range:
        """The seeds themselves."""
        return range(self.first, self.first + self.count)


class Success(Terms):
    """When a seed counts as having learned its algorithm; data, so it can be read otherwise."""

    # A document may leave the length out: it is filled in before this is made.
    model_config = ConfigDict(json_schema_extra={"required": []})

    metric: Literal["sequence_error", "symbol_error"] = "sequence_error"
    """`sequence_error`: share of sequences with any wrong symbol. `symbol_error`: of symbols."""
    length: Annotated[int, Field(ge=1, le=LARGEST), NO_TRUTH_VALUE]
    """The test length it is read at; by default the longest that every configuration tests."""
    below: Annotated[float, Field(gt=0, le=1), NO_TRUTH_VALUE] = 0.01
    """The metric must be smaller than this."""
    when: Literal["ever", "final"] = "ever"
    """`ever`: at any test of the run. `final`: at its last test."""
    task: str | None = None
    """The one task that counts; by default every tested task must pass at the same step."""


def _seeds_per_trial(value: object) -> object:
    if value == "auto" or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ValueError("must be auto or an integer of at least 1")


#: Units of memory, in bytes.
_UNITS = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40,
}  # fmt: skip


def _bytes(value: object) -> object:
    """A number of bytes as it is, `8 GiB` as its number of bytes."""
    if not isinstance(value, str):
        return value
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?)?B\s*", value)
    if not found:
        raise ValueError("must be a number of bytes, or one with a unit, such as 8 GiB")
    number, prefix = found.groups()
    return round(float(number) * _UNITS[f"{prefix or ''}B"])


class Resources(Terms):
    """What one trial holds while it runs."""

    cpu: Annotated[int, Field(ge=1, le=1024), NO_TRUTH_VALUE] = 1
    """CPU cores."""
    gpu: Annotated[float, Field(ge=0, le=1), NO_TRUTH_VALUE] = 0.0
    """Share of a GPU; 0 trains on the CPU. Bookkeeping for placement, not a memory limit."""
    seeds_per_trial: Annotated[int | Literal["auto"], BeforeValidator(_seeds_per_trial)] = "auto"
    """Seeds packed into one trial. `auto`: as many as keep it busy and fit in its memory."""
    memory: Annotated[
        Annotated[int, Field(ge=2**20, le=2**50)] | None,
        NO_TRUTH_VALUE,
        BeforeValidator(_bytes),
        WithJsonSchema({"type": ["integer", "string", "null"], "default": None}),
    ] = None
    """Device memory a trial may take, in bytes or as `8 GiB`. Default: 2 GiB a core, 16 a GPU."""


class Schedule(Terms):
    """When a sweep's trials run, beside those of other sweeps."""

    priority: Annotated[int, Field(ge=-1000, le=1000), NO_TRUTH_VALUE] = 0
    """Sweeps of a greater priority are trained first; among equals, those submitted earlier."""
    max_concurrent_trials: Annotated[
        Annotated[int, Field(ge=1, le=LARGEST)] | None,
        NO_TRUTH_VALUE,
        WithJsonSchema({"type": ["integer", "null"], "minimum": 1, "default": None}),
    ] = None
    """Trials at once; by default as many as the cluster has room for."""


class Retry(Terms):
    """When a seed that raises is given up. Divergence is a result and is never retried."""

    max_failures: Annotated[int, Field(ge=1, le=100), NO_TRUTH_VALUE] = 3
    """Failures of a seed of its own after which its state is `failed`."""
    max_failed_seeds: Annotated[
        Annotated[int, Field(ge=0, le=LARGEST)] | None,
        NO_TRUTH_VALUE,
        WithJsonSchema({"type": ["integer", "null"], "minimum": 0, "default": None}),
    ] = None
    """Failed seed runs of the whole sweep beyond which it is given up; by default it never is."""


def label(value: object) -> object:
    """A number or truth value as text, the way YAML writes it; all else as it is."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else value


LabelText = Annotated[
    str,
    BeforeValidator(label),
    Field(max_length=1000),
    AfterValidator(one_line),
    WithJsonSchema({"type": ["string", "number", "boolean"], "maxLength": 1000}),
]


class Header(Terms):
    """What a spec says about itself."""

    schema_version: Literal[1] = 1
    """The version of this form; 1 is the only one."""
    name: Name
    """What the sweep is called; one configuration without a grid is labelled with it."""
    labels: dict[Name, LabelText] = {}
    """Any texts to find the sweep by."""


AnyTerms = TypeVar("AnyTerms", bound=Terms)


def read_terms(
    model: type[AnyTerms], document: Mapping[str, Any], path: str, problems: Problems
) -> AnyTerms | None:
    """Read one part of a spec, or None after noting everything that is wrong with it."""
    known = {key: value for key, value in document.items() if key in model.model_fields}
    unknown = [key for key in document if key not in known]
    meant = {problems.unknown(join(path, key), "key", key, model.model_fields) for key in unknown}
    try:
        return model.model_validate(known)
    except ValidationError as error:
        note(error, path, problems, leave_out=meant)
        return None
