"""What one seed run is made of: frozen dataclasses, standard library only.

A `RunConfig` fixes everything about a seed run except its seed. Every key has the reference's
default for its family (`FAMILY_DEFAULTS`), so a spec names only what it changes. Loading this
module loads neither torch nor numpy: the web process validates specs with it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import pairwise
from typing import Any, Literal

Family = Literal["neural_gpu", "diagonal_neural_gpu", "lstm_attention"]
Unit = Literal["cgru", "resnet"]
DropoutPlace = Literal["reference", "state", "candidate", "none"]
NoiseFormula = Literal["learning_rate", "published", "none_as_released"]
Optimizer = Literal["adam", "adamax"]
Precision = Literal["float32", "tf32", "bfloat16"]
Schedule = Literal["curriculum", "all_bins"]

#: Tasks that a network with `model.task_id` can be told apart.
TASK_SLOTS = 4


class WrongValue(ValueError):
    """A value that no configuration can have."""

    def __init__(self, key: str, value: object, rule: str, also: tuple[str, ...] = ()) -> None:
        self.key = key
        #: Keys of the same section that the value was held against.
        self.also = also
        super().__init__(key, value, rule, also)

    def __str__(self) -> str:
        return f"{self.key} is {self.args[1]!r}: {self.args[2]}"


def _require(holds: bool, key: str, value: object, rule: str, also: tuple[str, ...] = ()) -> None:
    if not holds:
        raise WrongValue(key, value, rule, also)


def _require_ascending(key: str, values: tuple[int, ...], minimum: int) -> None:
    ascending = all(a < b for a, b in pairwise(values))
    _require(
        bool(values) and values[0] >= minimum and ascending,
        key,
        list(values),
        f"must be ascending integers, each at least {minimum}",
    )


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The network. Defaults are those of the Neural GPU as released (SPECS B.1)."""

    #: Kind of network; decides the defaults of all other keys.
    family: Family = "neural_gpu"
    #: Maps (channels) of the state; `lstm_attention`: units of a layer.
    filters: int = 24
    #: Rows of the state; `neural_gpu` only (the other families have one).
    height: int = 4
    #: Classes of the input embedding, symbol 0 (pad) included.
    input_symbols: int = 33
    #: Classes of the output, symbol 0 (pad) included.
    output_symbols: int = 33
    #: q of the gate clip(q*sigmoid - (q-1)/2, 0, 1); below 1.01 the gate is a plain sigmoid.
    gate_cutoff: float = 1.2
    #: Copies of the recurrent weights, used cyclically in time and pulled together (relaxation).
    weight_copies: int = 6
    #: Convolutional GRUs applied in one time step; `lstm_attention`: LSTMs above each other.
    layers: int = 2
    #: Time steps beyond the length: 1 in the released code, 0 in the code the paper's sweeps ran.
    extra_steps: int = 1
    #: q of the candidate clip(q*tanh, -1, 1), `neural_gpu` only; below 1.01 it is a plain tanh.
    tanh_cutoff: float = 0.0
    #: What a time step of `neural_gpu` applies: `cgru`, gated units; `resnet`, `layers`
    #: convolutions, each followed by a relu, the state added before the last one.
    unit: Unit = "cgru"
    #: Batch normalization after each time step of `neural_gpu`, each weight copy with its own beta
    #: and gamma: 1, moments of the whole padded batch; 2, of unmasked positions. Never moving ones.
    batch_norm: int = 0
    #: Factor on the time steps a bin has room for (padded length, rounded up to whole turns of the
    #: weight copies). A sequence stops by itself, so only a factor below 1 has an effect.
    layer_scale: float = 1.0
    #: What `neural_gpu` reads its answer from: 0, the last state; 1, the sum of the states after
    #: each of a sequence's time steps.
    output_layer: int = 0
    #: Whether every convolution of `neural_gpu` also sees which task it is: a one-hot of 4, in the
    #: order of `training.tasks`, then `evaluation.tasks`.
    task_id: bool = False
    #: Sigmoid and tanh in place of the hard ones; `diagonal_neural_gpu` only.
    soft_nonlinearities: bool = False
    #: Whether two thirds of the maps are shifted before the gate; `diagonal_neural_gpu` only.
    diagonal_gates: bool = True
    #: What is dropped: `state`, before each time step, with the share times 8 / bin length;
    #: `candidate`, and the first state (`diagonal_neural_gpu`); `none`. `reference`: `state` in
    #: `neural_gpu`, `candidate` in `diagonal_neural_gpu`, the layers' inputs in `lstm_attention`.
    dropout_on: DropoutPlace = "reference"

    def __post_init__(self) -> None:
        _require(self.filters >= 1, "filters", self.filters, "must be at least 1")
        _require(1 <= self.height <= 16, "height", self.height, "must be between 1 and 16")
        _require(self.input_symbols >= 2, "input_symbols", self.input_symbols, "must be at least 2")
        _require(
            self.output_symbols >= 2, "output_symbols", self.output_symbols, "must be at least 2"
        )
        _require(
            0 <= self.gate_cutoff <= 10, "gate_cutoff", self.gate_cutoff, "must be between 0 and 10"
        )
        _require(self.weight_copies >= 1, "weight_copies", self.weight_copies, "must be at least 1")
        _require(1 <= self.layers <= 8, "layers", self.layers, "must be between 1 and 8")
        _require(0 <= self.extra_steps <= 1, "extra_steps", self.extra_steps, "must be 0 or 1")
        _require(
            0 <= self.tanh_cutoff <= 10, "tanh_cutoff", self.tanh_cutoff, "must be between 0 and 10"
        )
        _require(self.batch_norm in (0, 1, 2), "batch_norm", self.batch_norm, "must be 0, 1 or 2")
        _require(0 < self.layer_scale <= 10, "layer_scale", self.layer_scale, "must be in (0, 10]")
        _require(self.output_layer in (0, 1), "output_layer", self.output_layer, "must be 0 or 1")
        _require(
            self.dropout_on != "candidate" or self.family == "diagonal_neural_gpu",
            "dropout_on",
            self.dropout_on,
            "must be 'reference', 'state' or 'none' outside diagonal_neural_gpu",
            also=("family",),
        )
        _require(
            self.dropout_on != "state" or self.family != "lstm_attention",
            "dropout_on",
            self.dropout_on,
            "must be 'reference' or 'none' in lstm_attention",
            also=("family",),
        )

    @property
    def dropped(self) -> str:
        """What is dropped: `state`, `candidate`, `inputs` or `none`."""
        if self.dropout_on != "reference":
            return self.dropout_on
        return {"neural_gpu": "state", "diagonal_neural_gpu": "candidate"}.get(
            self.family, "inputs"
        )

    @property
    def computes_padding(self) -> bool:
        """Whether positions beyond the sequences matter: something there is not zero."""
        return bool(self.batch_norm) or self.task_id

    def columns(self, length: int, padded: int) -> int:
        """Columns of the state for sequences of a length in a bin."""
        return max(length, padded) if self.computes_padding else length

    def time_steps(self, length: int, padded: int) -> int:
        """Time steps a sequence of this length is given in a bin."""
        if self.family != "neural_gpu":
            return length
        limit = self.step_limit(padded)
        steps = length + self.extra_steps
        return steps if limit is None else min(steps, limit)

    def step_limit(self, padded: int) -> int | None:
        """Time steps a bin has room for; None: as many as any sequence wants."""
        if self.layer_scale >= 1:
            return None
        turns = -(-int(self.layer_scale * padded) // self.weight_copies)
        return turns * self.weight_copies


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The optimization of one seed (SPECS B.2, B.3, D)."""

    #: Tasks; with `curriculum: 0` only the first is trained on.
    tasks: tuple[str, ...] = ("badd",)
    #: Parameter updates before the run is finished.
    max_steps: int = 200_000
    #: Sequences a step; with `all_bins`, sequences a bin.
    batch_size: int = 32
    #: `curriculum`: one length a step, lengthened once mastered. `all_bins`: every bin each step.
    schedule: Schedule = "curriculum"
    #: Shortest training length (`curriculum`), in symbols.
    min_length: int = 5
    #: Longest training length (`curriculum`), in symbols.
    max_length: int = 41
    #: Padded lengths. A batch is padded to the smallest that holds it; `all_bins` trains on each.
    bins: tuple[int, ...] = (8, 12, 16, 20, 24, 28, 32, 36, 40, 48)
    #: Distinct examples kept a length, drawn once a seed; 0 draws fresh ones every step.
    examples_per_length: int = 0
    #: Share of each bin's examples that are shorter than the bin (`all_bins`).
    shorter_share: float = 0.0
    #: Steps between statistics, and the unit of curriculum, pull and learning-rate decisions.
    steps_per_epoch: int = 200
    #: Epoch sequence error at or below which the curriculum goes on.
    curriculum_error: float = 0.15
    #: `adam`, or `adamax` with the clipping and decay of the diagonal family's reference.
    optimizer: Optimizer = "adam"
    #: First learning rate.
    learning_rate: float = 1e-3
    #: Factor on the learning rate after an epoch that did not improve.
    learning_rate_decay: float = 0.98
    #: Floor of the decayed learning rate, as a share of the first one.
    learning_rate_floor: float = 0.0
    #: epsilon of the optimizer's denominator.
    epsilon: float = 1e-4
    #: Largest global norm of one seed's gradient (`adam`); `adamax` clips elementwise on its own.
    clip_norm: float = 1.0
    #: Probability of dropping a state value; `neural_gpu` scales it by 8 / bin length.
    dropout: float = 0.15
    #: Standard deviation of gradient noise, as a multiple of what `noise_formula` says.
    gradient_noise: float = 0.0
    #: First weight of the relaxation pull between the copies of the weights.
    pull: float = 0.0005
    #: Factor on the pull after an epoch that mastered its length.
    pull_growth: float = 1.2
    #: Pull from which on a mastered epoch averages the copies instead.
    pull_ceiling: float = 0.1
    #: First (and largest) weight of the saturation cost (`diagonal_neural_gpu`); 0 leaves it out.
    saturation: float = 0.0
    #: A seed whose loss is not finite, or above this many times its first loss, has diverged.
    divergence_factor: float = 1000.0
    #: Of the factors of products on a GPU: `float32`; `tf32`, ten bits of mantissa; `bfloat16`,
    #: seven. Sums, states, gradients and weights stay float32, and so does everything on a CPU.
    precision: Precision = "float32"
    #: Stop early when an epoch's error on its own training batches, of the task that did worst, is
    #: at or below this with the curriculum of every task at full length; negative never stops. No
    #: test sequence is looked at.
    stop_error: float = -1.0
    #: Multiple of what `gradient_noise` is: `learning_rate`, before clipping; `published`, after
    #: clipping, sqrt(step^-0.55 * max(0, e - 0.02)), e the sequence error of the epoch before (1 in
    #: the first); `none_as_released`, nothing, whatever the scale, as in every run of the authors.
    noise_formula: NoiseFormula = "learning_rate"
    #: How training goes through `tasks`, each with a length of its own; a task is solved when that
    #: is max_length. 0: the first task only. 1 to 5: with probability 0.8 (3: always) the first
    #: unsolved one, else any (1, 2) or any unsolved one (4, 5); with all solved any, or the last
    #: (5). With 2, a solved task whose epoch error is above 0.01 goes back by a symbol.
    curriculum: int = 0

    def __post_init__(self) -> None:
        _require(len(self.tasks) >= 1, "tasks", list(self.tasks), "name at least one task")
        _require(len(set(self.tasks)) == len(self.tasks), "tasks", list(self.tasks), "names twice")
        for key in ("max_steps", "batch_size", "steps_per_epoch"):
            _require(getattr(self, key) >= 1, key, getattr(self, key), "must be at least 1")
        _require(
            1 <= self.min_length <= self.max_length,
            "min_length",
            self.min_length,
            f"must be between 1 and max_length ({self.max_length})",
            also=("max_length",),
        )
        _require_ascending("bins", self.bins, 1)
        _require(
            self.schedule == "all_bins" or self.bins[-1] >= self.max_length,
            "bins",
            list(self.bins),
            f"the last must hold max_length ({self.max_length})",
            also=("max_length", "schedule"),
        )
        _require(
            self.examples_per_length >= 0,
            "examples_per_length",
            self.examples_per_length,
            "must not be negative",
        )
        for key in ("shorter_share", "curriculum_error", "dropout", "learning_rate_floor"):
            value = getattr(self, key)
            _require(0 <= value < 1, key, value, "must be in [0, 1)")
        for key in ("learning_rate", "epsilon", "clip_norm", "pull_ceiling", "divergence_factor"):
            _require(getattr(self, key) > 0, key, getattr(self, key), "must be positive")
        _require(
            0 < self.learning_rate_decay <= 1,
            "learning_rate_decay",
            self.learning_rate_decay,
            "must be in (0, 1]",
        )
        _require(self.pull_growth >= 1, "pull_growth", self.pull_growth, "must be at least 1")
        for key in ("gradient_noise", "pull", "saturation"):
            _require(getattr(self, key) >= 0, key, getattr(self, key), "must not be negative")
        _require(self.stop_error < 1, "stop_error", self.stop_error, "must be below 1")
        _require(0 <= self.curriculum <= 5, "curriculum", self.curriculum, "must be in 0..5")
        _require(
            self.curriculum == 0 or self.schedule == "curriculum",
            "curriculum",
            self.curriculum,
            "all_bins trains every bin of the first task in each step; must be 0",
            also=("schedule",),
        )

    @property
    def trained_tasks(self) -> tuple[str, ...]:
        """The tasks trained on: all of `tasks`, or with `curriculum: 0` the first."""
        return self.tasks if self.curriculum else self.tasks[:1]

    def padded_length(self, length: int) -> int:
        """The smallest bin that holds a length; the length itself beyond the last."""
        return next((size for size in self.bins if size >= length), length)


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """How often and on what a seed is tested (SPECS B.4, B.6); never on training sequences."""

    #: Tasks tested; empty means the training tasks.
    tasks: tuple[str, ...] = ()
    #: Lengths tested, in symbols; beyond the training lengths they measure generalization.
    lengths: tuple[int, ...] = (201,)
    #: Fresh sequences drawn a test.
    sequences: int = 128
    #: Steps between tests; the last step is always tested.
    every: int = 800
    #: Long lengths are tested only when the epoch's training error, of the task that did worst, is
    #: below this; the last test always runs. 1 tests every time.
    only_below: float = 1.0
    #: Longest carry tested after training, in digits; 0 tests no carries. Additions only.
    carry_limit: int = 0
    #: Sequences of each short test: before the long lengths, every valid length of training's
    #: min_length to max_length, ascending; 0 tests none. The released program: 32.
    short_sequences: int = 0
    #: A task's short tests end after so many lengths in a row with every sequence wrong; 0: never.
    #: The released program: 4.
    stop_after_wrong: int = 0
    #: Long lengths are tested, on every task, only when some task's error at its last short test is
    #: below this; the last test always runs. 1 tests every time. The released program: 0.05.
    short_below: float = 1.0
    #: Shift those carries to a random place among the digits instead of leaving them lowest.
    carry_random_offset: bool = False
    #: Probes asked once, after training, of every evaluation task that they fit.
    probes: tuple[str, ...] = ()
    #: Longest length of the probe `lengths`, in symbols.
    length_limit: int = 4001
    #: Sequences of each length of the probe `lengths`.
    length_sequences: int = 1024

    def __post_init__(self) -> None:
        _require(len(set(self.tasks)) == len(self.tasks), "tasks", list(self.tasks), "names twice")
        _require_ascending("lengths", self.lengths, 1)
        for key in ("sequences", "every"):
            _require(getattr(self, key) >= 1, key, getattr(self, key), "must be at least 1")
        _require(0 < self.only_below <= 1, "only_below", self.only_below, "must be in (0, 1]")
        _require(
            0 <= self.carry_limit <= 4000, "carry_limit", self.carry_limit, "must be in 0..4000"
        )
        for key in ("short_sequences", "stop_after_wrong"):
            _require(getattr(self, key) >= 0, key, getattr(self, key), "must not be negative")
        _require(0 < self.short_below <= 1, "short_below", self.short_below, "must be in (0, 1]")
        for key, without in (("stop_after_wrong", 0), ("short_below", 1)):
            _require(
                self.short_sequences > 0 or getattr(self, key) == without,
                key,
                getattr(self, key),
                f"without short tests (short_sequences) it has no effect; must be {without}",
                also=("short_sequences",),
            )
        _require(
            len(set(self.probes)) == len(self.probes), "probes", list(self.probes), "names twice"
        )
        _require(
            7 <= self.length_limit <= 100_000,
            "length_limit",
            self.length_limit,
            "must be in 7..100000",
        )
        _require(
            1 <= self.length_sequences <= 100_000,
            "length_sequences",
            self.length_sequences,
            "must be in 1..100000",
        )


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything that fixes a seed run's result except the seed."""

    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)

    @property
    def evaluation_tasks(self) -> tuple[str, ...]:
        """The tasks tested: those named, else the training tasks."""
        return self.evaluation.tasks or self.training.tasks

    @property
    def named_tasks(self) -> tuple[str, ...]:
        """Every task once: those trained on, then those only tested."""
        return tuple(dict.fromkeys((*self.training.tasks, *self.evaluation.tasks)))

    def task_slot(self, name: str) -> int:
        """The number by which a network with `model.task_id` is told a task."""
        return self.named_tasks.index(name)

    def to_mapping(self) -> dict[str, dict[str, Any]]:
        """Nested plain values, tuples as lists: what is stored and digested."""
        return {
            section: {
                key: list(value) if isinstance(value, tuple) else value
                for key, value in values.items()
            }
            for section, values in asdict(self).items()
        }

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Mapping[str, Any]]) -> "RunConfig":
        """The inverse of `to_mapping`, for values that were validated when they were stored."""
        types = {
            "model": ModelConfig,
            "training": TrainingConfig,
            "evaluation": EvaluationConfig,
        }
        sections: dict[str, Any] = {
            section: types[section](
                **{
                    key: tuple(value) if isinstance(value, list) else value
                    for key, value in values.items()
                }
            )
            for section, values in mapping.items()
        }
        return cls(**sections)


#: What each family's reference program uses where it differs from the dataclass defaults (SPECS D).
#: Dotted key -> value. The diagonal learning rate is 0.01 * 48 / filters: see `family_defaults`.
FAMILY_DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "neural_gpu": {},
    "diagonal_neural_gpu": {
        "model.filters": 96,
        "model.height": 1,
        "model.input_symbols": 13,
        "model.output_symbols": 13,
        "model.weight_copies": 1,
        "model.layers": 1,
        "model.extra_steps": 0,
        "training.schedule": "all_bins",
        "training.tasks": ("bmul_dn",),
        "training.max_steps": 20_000,
        "training.bins": (8, 12, 16, 20, 25, 28, 31, 36, 41),
        "training.examples_per_length": 10_000,
        "training.shorter_share": 0.05,
        "training.optimizer": "adamax",
        "training.learning_rate_decay": 0.7,
        "training.learning_rate_floor": 1 / 60,
        "training.epsilon": 1e-8,
        "training.dropout": 0.1,
        "training.gradient_noise": 1e-4,
        "training.pull": 0.0,
        "training.saturation": 1e-3,
        "evaluation.lengths": (401,),
        "evaluation.sequences": 32,
        "evaluation.every": 200,
    },
    # 3 layers of 64 units are Kaiser's; its other settings are those tried there, or the Neural
    # GPU's where the sources are silent (see models/lstm_attention.py).
    "lstm_attention": {
        "model.filters": 64,
        "model.height": 1,
        "model.weight_copies": 1,
        "model.layers": 3,
        "model.extra_steps": 0,
        "training.dropout": 0.09,
        "training.pull": 0.0,
    },
}


def family_defaults(family: str, filters: int | None) -> dict[str, Any]:
    """The dotted defaults of a family, the size-dependent ones included.

    Raises:
        ValueError: There is no such family.
    """
    if family not in FAMILY_DEFAULTS:
        raise ValueError(f"model.family is {family!r}: must be one of {sorted(FAMILY_DEFAULTS)}")
    defaults = dict(FAMILY_DEFAULTS[family])
    if family == "diagonal_neural_gpu":
        maps = filters or defaults["model.filters"]
        defaults["training.learning_rate"] = 0.01 * 48 / maps
    return defaults


def config_keys() -> Iterator[str]:
    """Every dotted key a spec may set: `model.filters`, `training.dropout`, …"""
    for section in fields(RunConfig):
        for key in fields(section.default_factory):  # type: ignore[arg-type]
            yield f"{section.name}.{key.name}"
