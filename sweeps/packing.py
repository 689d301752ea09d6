"""How many seeds one trial trains, where a spec leaves it open (`seeds_per_trial: auto`).

Packs are cut when a sweep is submitted and stored with it, by a machine that need not be the one
that trains. So nothing here looks at this machine: the device's memory is what the spec says
(`resources.memory`) or what is assumed below, and how many trials run at once is assumed too. The
trial looks at the memory it finds, keeps less of each step, or trains its seeds in smaller parts.
"""

from math import ceil

from ngpu_core.config import RunConfig
from ngpu_core.cost import training_flop
from ngpu_core.engines.coverage import uncovered
from ngpu_core.memory import DoesNotFit, largest_pack, plan_memory
from sweeps.duration import counted_seconds, gflop_per_second
from sweeps.terms import Resources

#: Bytes of memory assumed for each core, and for a whole GPU.
CORE_BYTES = 2 * 2**30
GPU_BYTES = 16 * 2**30
#: A trial on processors should last this long, so that beginning and recording it hardly count.
TRIAL_SECONDS = 60.0
#: Trials a sweep is cut into at least, where it has the seeds: as many may run at once.
TRIALS_AT_ONCE = 16
#: Operations of one step of a pack that keep a GPU busy for longer than its launches take.
GPU_STEP_FLOP = 1e12
#: Seeds of a pack on a GPU, at least and at most.
GPU_PACK = (4, 64)


def memory_budget(resources: Resources) -> int:
    """Bytes one trial is taken to have."""
    if resources.memory is not None:
        return resources.memory
    if resources.gpu > 0:
        return int(GPU_BYTES * resources.gpu)
    return CORE_BYTES * resources.cpu


def pack_size(run: RunConfig, resources: Resources, seeds: int, configurations: int) -> int:
    """Seeds of one trial: those asked for, or as many as keep it busy and fit in its memory.

    On processors a thread trains a seed, so a pack has a seed for each core; more only where seeds
    are so short that a trial would be over at once. On a GPU seeds share each operation, so a
    pack of small networks is large. At least one, whatever memory it needs.

    Args:
        run: The configuration.
        resources: The spec's.
        seeds: Seeds of the configuration.
        configurations: Configurations of the sweep.
    """
    if resources.seeds_per_trial != "auto":
        return resources.seeds_per_trial
    wanted = (
        _gpu_pack(run) if resources.gpu > 0 else _cpu_pack(run, resources, seeds * configurations)
    )
    wanted = min(wanted, seeds)
    budget, engine = memory_budget(resources), planned_engine(run, resources)
    try:
        fitting = largest_pack(run, wanted, budget, engine=engine, threads=resources.cpu).seeds
    except DoesNotFit:
        fitting = 1
    return ceil(seeds / ceil(seeds / fitting))  # packs of nearly equal size


def predicted_bytes(run: RunConfig, resources: Resources, seeds: int) -> int:
    """Bytes a pack of this size takes, keeping what fits in the memory it is taken to have."""
    budget, engine = memory_budget(resources), planned_engine(run, resources)
    try:
        plan = plan_memory(run, seeds, budget, engine=engine, threads=resources.cpu)
    except DoesNotFit as error:
        return error.needed
    return plan.predicted_bytes


def planned_engine(run: RunConfig, resources: Resources) -> str:
    """What will train on a machine that has everything, as the memory plan names it."""
    if uncovered(run.model):
        return "autograd at once" if resources.gpu > 0 else "autograd"
    return "cuda" if resources.gpu > 0 else "native"


def _cpu_pack(run: RunConfig, resources: Resources, seed_runs: int) -> int:
    seconds = run.training.max_steps * counted_seconds(run, gflop_per_second(run, Resources(cpu=1)))
    rounds = ceil(TRIAL_SECONDS / seconds)
    return min(resources.cpu * rounds, max(resources.cpu, seed_runs // TRIALS_AT_ONCE))


def _gpu_pack(run: RunConfig) -> int:
    least, most = GPU_PACK
    return min(max(ceil(GPU_STEP_FLOP / training_flop(run)), least), most)
