"""The part of a spec's JSON Schema that describes the keys of a run."""

from typing import Any

from sweeps.keys import ConfigKey, key_table, sections


def describe_overrides(schema: dict[str, Any]) -> dict[str, Any]:
    """Put every configuration key into the schema of a spec, and drop what has a default."""
    properties = schema["properties"]
    properties["base"] |= overrides_schema()
    level = {"anyOf": [overrides_schema(), {"type": "null"}]}
    axis = {"type": "object", "minProperties": 1, "additionalProperties": level}
    properties["grid"] |= {"type": "object", "additionalProperties": axis}
    scalar = {"type": ["string", "number", "boolean"]}
    properties["exclude"]["items"]["additionalProperties"] = scalar
    schema["required"] = ["name", "seeds"]
    return schema


def overrides_schema() -> dict[str, Any]:
    """A base or a level: sections of keys, or dotted keys."""
    nested = {
        section: {
            "type": "object",
            "description": (config.__doc__ or "").strip(),
            "additionalProperties": False,
            "properties": {
                key.field: _key_schema(key)
                for key in key_table().values()
                if key.section == section
            },
        }
        for section, config in sections().items()
    }
    dotted = {key.name: _key_schema(key) for key in key_table().values()}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {**nested, **dotted},
    }


def _key_schema(key: ConfigKey) -> dict[str, Any]:
    default = list(key.default) if isinstance(key.default, tuple) else key.default
    return {**key.adapter.json_schema(), "description": key.description, "default": default}
