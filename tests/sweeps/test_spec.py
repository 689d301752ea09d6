"""Reading a spec: what is accepted, what is refused and where, what the digest covers."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_documents import documents, renamed, shuffled, vocabulary

from ngpu_core.config import RunConfig, config_keys
from sweeps.expansion import configurations
from sweeps.keys import key_table
from sweeps.reference import rewritten
from sweeps.spec import (
    Problem,
    SpecError,
    SweepSpec,
    dump_yaml,
    load_spec,
    parse_spec,
    spec_json_schema,
)

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "sweeps" / "specs").glob("*.yaml"))
SCHEMA = jsonschema.Draft202012Validator(spec_json_schema())
MINIMAL = {"name": "adders", "seeds": {"count": 3}}


def problems_of(document: Any) -> dict[str, Problem]:
    """The problems of a document by their paths."""
    with pytest.raises(SpecError) as caught:
        load_spec(document)
    return {problem.path: problem for problem in caught.value.problems}


# Round trips and digests


@given(documents())
def test_the_canonical_form_reads_back_as_the_same_spec(document: dict[str, Any]) -> None:
    spec = load_spec(document)

    assert load_spec(spec.canonical()) == spec
    assert load_spec(json.loads(json.dumps(spec.canonical()))) == spec
    assert parse_spec(dump_yaml(spec)) == spec
    assert parse_spec(json.dumps(spec.canonical()), format="json") == spec


@given(documents())
def test_dumped_yaml_keeps_the_order_of_the_configurations(document: dict[str, Any]) -> None:
    spec = load_spec(document)

    assert configurations(parse_spec(dump_yaml(spec))) == configurations(spec)


@given(documents(), st.data())
def test_the_order_of_keys_changes_neither_spec_nor_digest(
    document: dict[str, Any], data: st.DataObject
) -> None:
    spec = load_spec(document)
    other = load_spec(shuffled(document, data.draw))

    assert other == spec
    assert other.digest() == spec.digest()


def test_writing_a_default_out_does_not_change_the_digest() -> None:
    plain = load_spec(MINIMAL)
    spelled = load_spec(
        {
            **MINIMAL,
            "base": {"model": {"filters": 24}, "training.dropout": "1.5e-1"},
            "success": {"length": 201},
            "resources": {"cpu": 1},
        }
    )

    assert spelled.digest() == plain.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"name": "others"},
        {"labels": {"a": "b"}},
        {"base": {"model.filters": 25}},
        {"grid": {"axis": {"level": {}}}},
        {"seeds": {"count": 4}},
        {"success": {"when": "final"}},
        {"resources": {"seeds_per_trial": 2}},
        {"retry": {"max_failures": 1}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_part_of_a_spec_is_part_of_its_digest(change: dict[str, Any]) -> None:
    assert load_spec({**MINIMAL, **change}).digest() != load_spec(MINIMAL).digest()


def test_model_validate_is_as_strict_as_load_spec() -> None:
    assert SweepSpec.model_validate(MINIMAL) == load_spec(MINIMAL)
    with pytest.raises(ValueError, match=r"base\.model\.filtres"):
        SweepSpec.model_validate({**MINIMAL, "base": {"model": {"filtres": 1}}})


# Misspelt keys


@given(documents(), st.data())
def test_one_misspelt_key_anywhere_is_refused_with_its_path_and_the_right_key(
    document: dict[str, Any], data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(list(vocabulary(document))))
    right = str(path[-1])
    place = data.draw(st.integers(0, len(right) - 1))
    wrong = f"{right[: place + 1]}q{right[place + 1 :]}"

    found = problems_of(renamed(document, path, wrong))

    at = ".".join(map(str, (*path[:-1], wrong)))
    if path[0] != "exclude":
        assert found[at].nearest == right
    assert set(found) == {at}


@pytest.mark.parametrize("key", list(config_keys()))
def test_every_key_of_a_run_is_suggested_for_its_misspelling(key: str) -> None:
    section, _, field = key.partition(".")
    wrong = f"{field}{field[-1]}"
    document = {**MINIMAL, "grid": {"a": {"b": {section: {wrong: 1}}}}, "base": {key + "e": 1}}

    found = problems_of(document)

    assert found[f"grid.a.b.{section}.{wrong}"].nearest == field
    assert found[f"base.{key}e"].nearest == key


def test_a_key_in_the_wrong_section_is_sent_to_the_right_one() -> None:
    found = problems_of({**MINIMAL, "base": {"model": {"dropout": 0.1}}})

    assert found["base.model.dropout"].nearest == "training.dropout"


def test_all_problems_come_at_once() -> None:
    found = problems_of(
        {
            "nam": "x",
            "schema_version": 2,
            "base": {"model": {"filters": True, "height": 0}, "training": {"tasks": ["baddd"]}},
            "grid": {
                "a": {"1": {"training.dropout": 2}, "2": {"training.dropuot": 0.1}},
                "b": {"x": {"training.dropout": 0.1}},
                "empty": {},
            },
            "exclude": [{"c": 1}, {"a": "3"}, {}],
            "seeds": {"first": -1, "cuont": 3},
            "success": {"metric": "sequence_eror", "task": "bad"},
            "resources": {"gpu": 2, "seeds_per_trial": 0, "memory": "8 GHz"},
            "retry": {"max_failures": 0},
        }
    )

    assert set(found) == {
        "nam",
        "schema_version",
        "base.model.filters",
        "base.model.height",
        "base.training.tasks.0",
        "grid.a.2.training.dropuot",
        "grid.b.x.training.dropout",
        "grid.empty",
        "exclude.0.c",
        "exclude.1.a",
        "exclude.2",
        "seeds.first",
        "seeds.cuont",
        "success.metric",
        "success.task",
        "resources.gpu",
        "resources.seeds_per_trial",
        "resources.memory",
        "retry.max_failures",
    }
    assert found["success.metric"].nearest == "sequence_error"
    assert found["base.training.tasks.0"].nearest == "badd"


# Values


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model.filters": True}, "must be a number, not a truth value"),
        ({"model.filters": 2.5}, "must be a valid integer"),
        ({"model.filters": 2**31}, "less than or equal to 2147483647"),
        ({"model.filters": 0}, "filters is 0: must be at least 1"),
        ({"training.learning_rate": "nan"}, "must be a finite number"),
        ({"training.dropout": 1}, r"dropout is 1.0: must be in \[0, 1\)"),
        ({"training.tasks": "badd"}, "must be a list"),
        ({"training.tasks": []}, "name at least one task"),
        ({"training.bins": [48, 8]}, "ascending"),
        ({"evaluation.lengths": list(range(1, 500))}, "at most 200 entries"),
        ({"model.family": "neural_gpus"}, "must be 'neural_gpu', "),
        ({"evaluation.lengths": [200]}, "nearest is 199 or 201"),
        ({"model.input_symbols": 5}, "task badd needs at least 12"),
        ({"evaluation.tasks": ["badde"], "model.height": 1}, "task badde needs at least 2"),
        ({"evaluation.tasks": ["scopy"], "evaluation.carry_limit": 9}, "only additions carry"),
        ({"evaluation.probes": ["padded_digits"]}, "it asks multiplications"),
        ({"evaluation.probes": ["carries", "carrys"]}, "nearest name is 'carries'"),
        ({"evaluation.probes": ["carries", "carries"]}, "names twice"),
        ({"evaluation.length_limit": 6}, "must be in 7"),
        ({"model.family": "diagonal_neural_gpu", "model.layers": 2}, "without effect"),
        ({"training.saturation": 0.1}, "without effect"),
        ({"model.soft_nonlinearities": True}, "without effect"),
        ({"model.family": "diagonal_neural_gpu", "model.batch_norm": 2}, "without effect"),
        ({"model.family": "lstm_attention", "model.weight_copies": 6}, "without effect"),
        ({"model.family": "lstm_attention", "model.dropout_on": "state"}, "must be 'reference'"),
        ({"model.dropout_on": "candidate"}, "outside diagonal_neural_gpu"),
        ({"model.unit": "resnet", "model.gate_cutoff": 1.0}, "has no gates"),
        ({"model.unit": "gru"}, "must be 'cgru' or 'resnet'"),
        ({"model.batch_norm": 3}, "must be 0, 1 or 2"),
        ({"model.task_id": "sure"}, "valid boolean"),
        (
            {"evaluation.tasks": ["baddt", "badd", "rev", "id", "sort"], "model.task_id": True},
            "tells 4 tasks apart, 5 are named",
        ),
        (
            {"model.family": "diagonal_neural_gpu", "model.soft_nonlinearities": True},
            "cut nothing off",
        ),
        ({"model.family": "lstm_attention", "evaluation.tasks": ["badde"]}, "needs at least 2"),
        ({"training.noise_formula": "some"}, "must be 'learning_rate', 'published' or"),
        (
            {"training.tasks": ["bmul"], "training.min_length": 1, "training.max_length": 2},
            "no len",
        ),
        ({"training.curriculum": 6}, r"curriculum is 6: must be in 0\.\.5"),
        (
            {"training.schedule": "all_bins", "training.curriculum": 1},
            "all_bins trains every bin of the first task in each step; must be 0",
        ),
        (
            {
                "training.tasks": ["scopy", "sbadd"],
                "training.curriculum": 5,
                "training.min_length": 2,
                "training.max_length": 3,
            },
            "task sbadd has no length in 2..3",
        ),
        (
            {"training.curriculum": 5, "training.tasks": ["badd", "badde"], "model.height": 1},
            "task badde needs at least 2",
        ),
        ({"evaluation.short_sequences": -1}, "must not be negative"),
        ({"evaluation.stop_after_wrong": 4}, "without short tests .* must be 0"),
        ({"evaluation.short_below": 0.05}, "without short tests .* must be 1"),
        (
            {"evaluation.short_sequences": 32, "evaluation.lengths": [41, 201]},
            r"length 41 is in 5\.\.41 and has a short test",
        ),
        (
            {"training.schedule": "all_bins", "evaluation.short_sequences": 32},
            "all_bins has no lengths",
        ),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_is_refused_where_it_stands(
    overrides: dict[str, Any], message: str
) -> None:
    key = list(overrides)[-1]

    in_base = problems_of({**MINIMAL, "base": overrides})
    in_level = problems_of({**MINIMAL, "grid": {"axis": {"level": overrides}}})

    assert re.search(message, in_base[f"base.{key}"].message)
    assert re.search(message, in_level[f"grid.axis.level.{key}"].message)


def test_several_impossible_values_of_one_section_are_all_named() -> None:
    base = {"training": {"dropout": 2, "batch_size": 0, "bins": [4, 2], "pull_growth": 0.5}}

    found = problems_of({**MINIMAL, "base": base})

    assert set(found) == {f"base.training.{key}" for key in base["training"]}


def test_numbers_may_be_written_as_text_and_labels_as_numbers() -> None:
    spec = parse_spec(
        """
        name: x
        labels: {year: 2016, share: 0.5, blind: true}
        base: {training: {learning_rate: 1e-3, max_steps: "100"}, evaluation: {lengths: [41]}}
        grid: {size: {24: {}, 0.50: {}, true: {}, no: {}}}
        exclude: [{size: 0.5}, {size: true}]
        seeds: {count: 1}
        """
    )

    assert spec.base["training"] == {"learning_rate": 0.001, "max_steps": 100}
    assert spec.labels == {"year": "2016", "share": "0.5", "blind": "true"}
    assert [each.label for each in configurations(spec)] == ["24", "no"]


# Success


def test_success_is_read_at_the_longest_length_all_configurations_test() -> None:
    grid = {
        "axis": {
            "a": {"evaluation.lengths": [5, 41, 401]},
            "b": {"evaluation.lengths": [5, 41, 201]},
        }
    }

    assert load_spec({**MINIMAL, "grid": grid}).success.length == 41


def test_success_must_be_read_where_all_configurations_are_tested() -> None:
    grid = {"axis": {"a": {"evaluation.lengths": [41]}, "b": {"evaluation.lengths": [201]}}}
    tasks = {"axis": {"a": {"training.tasks": ["badd"]}, "b": {"training.tasks": ["bmul"]}}}

    assert "success.length" in problems_of({**MINIMAL, "grid": grid})
    assert "success.length" in problems_of({**MINIMAL, "success": {"length": 41}})
    assert "success.task" in problems_of({**MINIMAL, "grid": tasks, "success": {"task": "badd"}})


# Limits


@pytest.mark.parametrize("axes", [[10] * 24, [10] * 6, [5000]], ids=["24 axes", "6 axes", "1 axis"])
def test_a_grid_of_ten_million_runs_is_refused_at_once(axes: list[int]) -> None:
    grid = {f"axis{i}": {str(j): {} for j in range(n)} for i, n in enumerate(axes)}
    text = json.dumps({"name": "huge", "seeds": {"count": 2000}, "grid": grid})
    seconds = []
    for _ in range(5):  # the first also looks the keys up; other processes may be running
        start = time.perf_counter()
        with pytest.raises(SpecError, match="at most 100,000"):
            parse_spec(text, format="json")
        seconds.append(time.perf_counter() - start)

    assert min(seconds) < 0.1


def test_the_largest_allowed_sweep_is_read() -> None:
    grid = {f"axis{i}": {str(j): {} for j in range(n)} for i, n in enumerate([50, 100])}

    spec = load_spec({**MINIMAL, "grid": grid, "seeds": {"count": 20}})

    assert len(configurations(spec)) == 5000


def test_seeds_stay_below_two_to_the_31() -> None:
    last = 2**31 - 1

    assert load_spec({**MINIMAL, "seeds": {"first": last, "count": 1}}).seeds.all == range(
        last, last + 1
    )
    assert "seeds.first" in problems_of({**MINIMAL, "seeds": {"first": last, "count": 2}})


def test_a_document_full_of_mistakes_gives_a_bounded_answer() -> None:
    start = time.perf_counter()
    found = problems_of({f"key{i}": 1 for i in range(50_000)})

    assert len(found) == 100
    assert time.perf_counter() - start < 2


# Schema, reference, imports


@given(documents())
def test_every_valid_document_fits_the_json_schema(document: dict[str, Any]) -> None:
    SCHEMA.validate(document)
    SCHEMA.validate(load_spec(document).canonical())


def test_the_json_schema_refuses_a_misspelt_key() -> None:
    for wrong in ({"nam": "x"}, {"base": {"modle": {}}}, {"base": {"model": {"filtres": 1}}}):
        assert not SCHEMA.is_valid({**MINIMAL, **wrong})


def test_the_json_schema_describes_every_key_with_its_default() -> None:
    base = spec_json_schema()["properties"]["base"]["properties"]

    for name in config_keys():
        section, _, field = name.partition(".")
        described = base[section]["properties"][field]
        assert described["description"]
        assert described["default"] == RunConfig().to_mapping()[section][field]


def test_every_key_of_the_configuration_is_known_and_explained() -> None:
    assert list(key_table()) == list(config_keys())
    assert all(key.description for key in key_table().values())


def test_the_tables_of_the_reference_are_up_to_date() -> None:
    """Otherwise: python -m sweeps.reference docs/spec.md."""
    text = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")

    assert rewritten(text) == text


def test_the_examples_of_the_reference_are_specs() -> None:
    text = (ROOT / "docs" / "spec.md").read_text(encoding="utf-8")
    examples = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)

    assert len(examples) >= 2
    for example in examples:
        assert parse_spec(example).name


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_specs_that_come_with_the_project_are_valid(path: Path) -> None:
    assert parse_spec(path.read_text(encoding="utf-8")).name == path.stem


@pytest.mark.parametrize("module", ["spec", "expansion", "preview", "reference"])
def test_reading_a_spec_loads_neither_torch_nor_ray(module: str) -> None:
    code = f"import sys, sweeps.{module}; assert not {{'torch', 'ray'}} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
