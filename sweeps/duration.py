"""How long training is taken to last where nothing was measured: arithmetic at assumed rates."""

from ngpu_core.config import RunConfig
from ngpu_core.cost import seed_step_flop, time_steps
from ngpu_core.engines.coverage import uncovered
from sweeps.terms import Resources

#: What a trial is taken to compute, in 10⁹ operations a second: the compiled engine on one core
#: (measured there: 170-220 at 24 filters), and a guess for a whole GPU.
CPU_GFLOP_PER_SECOND = 180.0
GPU_GFLOP_PER_SECOND = 20_000.0
#: What is left of these where only autograd computes a network (measured on one core: 35-49 of 193
#: at 24 to 96 maps; 10 in an LSTM with attention of 3 x 64 units, whose products are small).
AUTOGRAD_SHARE = 0.25
#: What one time step costs at any size, forward and backward (measured: some 3 ms a step at 12
#: time steps of a small network).
DISPATCH_SECONDS = 0.0002


def counted_seconds(run: RunConfig, rate: float) -> float:
    """Seconds of one step of one seed at `rate` 10⁹ operations a second."""
    return seed_step_flop(run) / rate / 1e9 + time_steps(run) * DISPATCH_SECONDS


def gflop_per_second(run: RunConfig, resources: Resources) -> float:
    """What one trial is taken to compute of a configuration."""
    share = AUTOGRAD_SHARE if uncovered(run.model) else 1.0
    if resources.gpu > 0:
        return share * GPU_GFLOP_PER_SECOND * resources.gpu
    return share * CPU_GFLOP_PER_SECOND * resources.cpu
