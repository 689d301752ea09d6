"""Final weights of finished seed runs, for whoever asks them offline."""

from collections.abc import Collection, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from service.client import Client

if TYPE_CHECKING:
    from ngpu_core.config import RunConfig
    from ngpu_core.tasks.task import Task

Seed = Mapping[str, Any]


class WeightsError(Exception):
    """Base of what keeps stored weights from being asked."""


class NoSuchSeeds(WeightsError):
    """A sweep has no finished seed runs like those asked for; says which it has."""


class Unable(WeightsError):
    """The network cannot be asked this task."""


class DamagedWeights(WeightsError):
    """A file of weights is not what was recorded."""


def finished_seeds(
    client: Client,
    sweep_id: str,
    *,
    configuration: int | None = None,
    seeds: Collection[int] = (),
) -> list[Seed]:
    """The finished seed runs of a sweep, by configuration and seed.

    Args:
        client: Of the service.
        sweep_id: The sweep.
        configuration: Only this configuration_id.
        seeds: Only these seeds; empty: all.

    Raises:
        NoSuchSeeds: There are none, or one of `seeds` is not among them.
    """
    finished = list(client.seeds(sweep_id, state="finished", configuration=configuration))
    of_which = "" if configuration is None else f" of configuration {configuration}"
    if not finished:
        raise NoSuchSeeds(f"sweep {sweep_id} has no finished seed run{of_which}: no weights yet")
    there = {seed["seed"] for seed in finished}
    if missing := sorted(set(seeds) - there):
        raise NoSuchSeeds(
            f"sweep {sweep_id} has no finished seed run{of_which} with seed "
            f"{', '.join(map(str, missing))}: finished are {', '.join(map(str, sorted(there)))}"
        )
    return [seed for seed in finished if not seeds or seed["seed"] in seeds]


def of_one_configuration(seeds: list[Seed]) -> list[Seed]:
    """The seeds, all of one configuration.

    Raises:
        NoSuchSeeds: They are of several; names them.
    """
    labels = {seed["configuration_id"]: seed["configuration"] for seed in seeds}
    if len(labels) > 1:
        named = "; ".join(f"{id} ({label})" for id, label in sorted(labels.items()))
        raise NoSuchSeeds(f"the sweep has several configurations, choose one: {named}")
    return seeds


def require_able(config: "RunConfig", task: "Task") -> None:
    """Refuse a task that a network has no symbols or rows for.

    Raises:
        Unable: Says what it lacks.
    """
    from sweeps.compatibility import alphabet_and_rows

    for conflict in alphabet_and_rows(config, task, "task"):
        raise Unable(conflict.message)


def weights(client: Client, seed: Seed, checkpoints: Path) -> dict[str, Any]:
    """A seed run's checkpoint: from this machine's folder, else from the service.

    Args:
        client: Of the service.
        seed: A row of its seeds.
        checkpoints: Folder of checkpoints, which need not hold it.

    Raises:
        DamagedWeights: The file here is not what was recorded.
        ServiceRefused: The service has no weights of it either.
        WrongDigest: What the service sent is not what was recorded.
    """
    from ngpu_core.checkpoint import CorruptCheckpoint, load_seed  # which loads torch

    known = client.seed(seed["seed_run_id"])
    here = checkpoints / (known["checkpoint_path"] or "")
    if here.is_file():
        try:
            return load_seed(here, known["checkpoint_sha256"])
        except CorruptCheckpoint as error:
            raise DamagedWeights(str(error)) from error
    with TemporaryDirectory(prefix="ngpu-weights-") as folder:
        file = Path(folder) / "seed.pt"
        # The tensors are pages of the file, which stay when its name goes.
        return load_seed(file, client.checkpoint(seed["seed_run_id"], file))
