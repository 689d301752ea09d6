"""What training under torch's autograd holds, in arrays of the state: measured, as torch decides.

Each number is of an array of the state (or of a layer's units) a layer or time step. Two sets: what
a process holds on a CPU, the holes between glibc's blocks included; and the live tensors alone,
which is what a GPU's caching allocator comes close to.
"""

from dataclasses import dataclass

from ngpu_core.call_sizes import FLOAT, Call, row_columns
from ngpu_core.config import TASK_SLOTS, ModelConfig


@dataclass(frozen=True, kw_only=True)
class Tape:
    """Arrays that are held: `_step` each time step, `_layer` each layer of each time step.

    Attributes:
        gated_layer: A gated unit with plain gates and tanh.
        gate_cutoff_layer: More with gates that are cut off.
        tanh_cutoff_layer: More with a tanh that is cut off.
        gated_task_layer: More where it sees its task, of an array with the task's maps.
        residual_layer: A residual convolution.
        residual_task_layer: More where it sees its task.
        state_dropout_step: More where the state is dropped from.
        norm_step: Batch normalization, kinds 1 and 2, after gated units and after residual ones.
        diagonal_step: A diagonal unit with hard nonlinearities.
        soft_step: One with soft ones.
        diagonal_dropout_step: More where the candidate or the state is dropped from.
        lstm_layer: A position of an LSTM.
        lstm_dropout_layer: More where its input is dropped from.
        decoder_step: A position of the decoder outside its LSTMs.
        attention: A position looked at from a position.
        passed: Held at once in a pass without a tape, by family.
    """

    gated_layer: float
    gate_cutoff_layer: float
    tanh_cutoff_layer: float
    gated_task_layer: float
    residual_layer: float
    residual_task_layer: float
    state_dropout_step: float
    norm_step: dict[str, tuple[float, float]]
    diagonal_step: float
    soft_step: float
    diagonal_dropout_step: float
    lstm_layer: float
    lstm_dropout_layer: float
    decoder_step: float
    attention: float
    passed: dict[str, float]

    def training(self, call: Call) -> int:
        """Bytes of a step's tape."""
        model = call.model
        if model.family == "lstm_attention":
            arrays = sum(width * self._position(call, width) for width, _ in call.bins)
        elif model.family == "diagonal_neural_gpu":
            arrays = row_columns(call.bins) * self._diagonal(call)
        else:
            arrays = sum(width * times for width, times in call.bins) * self._neural_gpu(call)
        return int(arrays * call.column_values * FLOAT)

    def testing(self, call: Call) -> int:
        """Bytes of a pass without a tape."""
        columns = sum(width for width, _ in call.bins)
        return int(self.passed[call.model.family] * columns * call.column_values * FLOAT)

    def _neural_gpu(self, call: Call) -> float:
        """Arrays of a time step."""
        model = call.model
        wider = (model.filters + TASK_SLOTS) / model.filters if model.task_id else 0
        dropped = self.state_dropout_step if call.dropout else 0
        if model.unit == "resnet":
            layer = self.residual_layer + self.residual_task_layer * wider
        else:
            layer = self.gated_layer + self.gated_task_layer * wider
            layer += self.gate_cutoff_layer * (model.gate_cutoff >= 1.01)
            layer += self.tanh_cutoff_layer * (model.tanh_cutoff >= 1.01)
        return layer * model.layers + dropped + self._norm(model)

    def _norm(self, model: ModelConfig) -> float:
        return self.norm_step[model.unit][model.batch_norm - 1] if model.batch_norm else 0

    def _diagonal(self, call: Call) -> float:
        """Arrays of a time step."""
        step = self.soft_step if call.model.soft_nonlinearities else self.diagonal_step
        return step + (self.diagonal_dropout_step if call.dropout else 0)

    def _position(self, call: Call, width: int) -> float:
        """Arrays of a position of the LSTM with attention, read and written."""
        dropped = self.lstm_dropout_layer if call.dropout else 0
        layers = 2 * call.model.layers * (self.lstm_layer + dropped)
        return layers + self.decoder_step + self.attention * width


#: On a CPU: resident memory of a process, measured at 24 maps (64 units), length 41, batch 32.
IN_BLOCKS = Tape(
    gated_layer=12.0,
    gate_cutoff_layer=3.7,
    tanh_cutoff_layer=1.1,
    gated_task_layer=2.4,
    residual_layer=2.6,
    residual_task_layer=1.0,
    state_dropout_step=3.3,
    norm_step={"cgru": (1.5, 1.5), "resnet": (2.6, 2.6)},
    diagonal_step=14.4,
    soft_step=7.0,
    diagonal_dropout_step=1.1,
    lstm_layer=16.0,
    lstm_dropout_layer=2.2,
    decoder_step=10.0,
    attention=3.5,
    passed={"neural_gpu": 23.5, "diagonal_neural_gpu": 20.5, "lstm_attention": 20.0},
)
#: Live tensors, as torch's profiler counts them.
LIVE = Tape(
    gated_layer=7.5,
    gate_cutoff_layer=4.0,
    tanh_cutoff_layer=1.0,
    gated_task_layer=1.2,
    residual_layer=1.7,
    residual_task_layer=0.6,
    state_dropout_step=1.0,
    norm_step={"cgru": (1.0, 1.0), "resnet": (1.1, 1.1)},
    diagonal_step=13.5,
    soft_step=6.4,
    diagonal_dropout_step=1.1,
    lstm_layer=9.0,
    lstm_dropout_layer=1.0,
    decoder_step=5.0,
    attention=2.1,
    passed={"neural_gpu": 10.6, "diagonal_neural_gpu": 6.0, "lstm_attention": 5.8},
)
