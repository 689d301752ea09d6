"""Small configurations that train in seconds, and hypothesis strategies over them."""

from typing import Any

from hypothesis import strategies as st

from ngpu_core.config import (
    EvaluationConfig,
    ModelConfig,
    RunConfig,
    TrainingConfig,
    family_defaults,
)

SMALL: dict[str, dict[str, Any]] = {
    "neural_gpu": {
        "model.filters": 4,
        "model.weight_copies": 2,
        "training.max_length": 9,
        "training.batch_size": 4,
    },
    "diagonal_neural_gpu": {
        "model.filters": 6,
        "training.bins": (5, 8),
        "training.batch_size": 4,
        "training.examples_per_length": 20,
        "training.shorter_share": 0.3,
    },
    "lstm_attention": {
        "model.filters": 5,
        "model.layers": 2,
        "training.max_length": 9,
        "training.batch_size": 4,
    },
}


def run_config(family: str, **changes: Any) -> RunConfig:
    """A small configuration of a family; `training__max_steps=3` sets `training.max_steps`."""
    dotted = {
        **family_defaults(family, None),
        **SMALL[family],
        "training.max_steps": 6,
        "training.steps_per_epoch": 3,
        "evaluation.lengths": (11,),
        "evaluation.sequences": 8,
        "evaluation.every": 3,
        **{key.replace("__", "."): value for key, value in changes.items()},
    }
    sections: dict[str, dict[str, Any]] = {"model": {"family": family}}
    for key, value in dotted.items():
        section, name = key.split(".")
        sections.setdefault(section, {})[name] = value
    return RunConfig(
        model=ModelConfig(**sections["model"]),
        training=TrainingConfig(**sections["training"]),
        evaluation=EvaluationConfig(**sections["evaluation"]),
    )


#: What a seed may be trained with beside its family's defaults: engines leave these to autograd.
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "neural_gpu": [
        {"model__unit": "resnet", "model__batch_norm": 2},
        {"model__batch_norm": 1, "model__tanh_cutoff": 1.2},
        {"model__layer_scale": 0.5, "model__output_layer": 1, "model__task_id": True},
        {"training__gradient_noise": 0.1, "training__noise_formula": "published"},
        {"training__gradient_noise": 0.1, "training__noise_formula": "none_as_released"},
    ],
    "diagonal_neural_gpu": [
        {"model__soft_nonlinearities": True, "training__saturation": 0.0},
        {"model__diagonal_gates": False, "model__dropout_on": "state"},
        {"model__dropout_on": "none"},
    ],
    "lstm_attention": [{}, {"training__dropout": 0.0, "model__layers": 1}],
}

#: Small configurations over all families, their options, and tasks of every layout.
run_configs = st.one_of(
    st.builds(
        lambda task: run_config(
            "neural_gpu", training__tasks=(task,), training__max_length=11, training__min_length=5
        ),
        st.sampled_from(["badd", "baddz", "badde", "sbaddet", "scopy", "bmul", "rev", "addt"]),
    ),
    st.builds(
        lambda kind, trained: run_config(
            "neural_gpu",
            training__curriculum=kind,
            training__tasks=trained[0],
            training__min_length=1,
            training__curriculum_error=0.999,
            model__input_symbols=trained[1],
            model__output_symbols=trained[1],
        ),
        st.integers(1, 5),
        st.sampled_from([(("badd", "badde", "scopy"), 24), (("rev", "id", "sort"), 3)]),
    ),
    st.builds(
        lambda task: run_config(
            "diagonal_neural_gpu", training__tasks=(task,), model__output_symbols=13
        ),
        st.sampled_from(["bmul_dn", "badd_dn", "sort", "dup", "rev"]),
    ),
    st.sampled_from(
        [run_config(family, **options) for family, each in OPTIONS.items() for options in each]
    ),
)
