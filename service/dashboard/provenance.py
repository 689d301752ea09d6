"""What fixed a seed run's result: its configuration beside the defaults, and where it ran. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ngpu_core.config import RunConfig, family_defaults

Row = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Key:
    """One value of a configuration."""

    #: Dotted, as a spec names it: `training.dropout`.
    name: str
    value: Any
    #: What its family has when the spec does not say.
    default: Any

    @property
    def changed(self) -> bool:
        """Whether the spec said something else than the default."""
        return bool(self.value != self.default)


def configuration_keys(run: Mapping[str, Mapping[str, Any]]) -> list[Key]:
    """Every key of a stored configuration, in the order of `RunConfig`.

    Args:
        run: `RunConfig.to_mapping()` as it was stored. Keys that this version of the program does
            not know are shown as they are, changed.
    """
    plain = RunConfig().to_mapping()
    defaults = {
        f"{section}.{key}": value for section, keys in plain.items() for key, value in keys.items()
    } | _of_family(run.get("model", {}))
    return [
        Key(name=f"{section}.{key}", value=value, default=defaults.get(f"{section}.{key}"))
        for section, keys in run.items()
        for key, value in keys.items()
    ]


def _of_family(model: Mapping[str, Any]) -> dict[str, Any]:
    family = model.get("family", "neural_gpu")
    try:
        own = family_defaults(family, model.get("filters"))
    except ValueError:
        return {}
    listed = {key: list(value) if isinstance(value, tuple) else value for key, value in own.items()}
    return {"model.family": family, **listed}


def longest_trained(run: Mapping[str, Mapping[str, Any]]) -> int:
    """The longest length of a training sequence, in symbols."""
    training = run["training"]
    if training["schedule"] == "all_bins":
        return int(training["bins"][-1])
    return int(training["max_length"])
