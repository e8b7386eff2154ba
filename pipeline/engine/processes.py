"""Join the processes of one run: a single one, or those that torchrun or SLURM started."""

import inspect
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psutil
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from pipeline.engine.errors import InputError, shorten
from pipeline.engine.gpus import choose_device

PATIENCE = timedelta(minutes=5)  # for processes that start later
FIRST_SPECIAL_STEP = 4294967290  # from here SLURM counts steps without tasks, as interactive
SESSIONS = ("bash", "interactive")  # job names that Lightning reads as an interactive session too


@dataclass(frozen=True)
class Place:
    """The place of this process among those of its run."""

    rank: int
    world_size: int
    local_rank: int
    address: str
    port: int


def launch(precision: str = "float32") -> Fabric:
    """Join the other processes of this run, if there are any.

    Gloo connects them on CPUs, NCCL on GPUs.

    Args:
        precision: A resolved precision (see pipeline.engine.precision).

    Raises:
        InputError: The variables of torchrun or SLURM are wrong, or the processes do not meet.
    """
    place = _find_place()
    if place:
        _announce(place)
    fabric = Fabric(
        accelerator=choose_device().type,
        devices=1,
        strategy=_make_strategy(place) if place else "auto",
        precision="bf16-mixed" if precision == "bfloat16" else "32-true",
        plugins=[TorchElasticEnvironment() if place else LightningEnvironment()],
    )
    if place:
        _join(fabric, place)
    else:
        fabric.launch()
    return fabric


def sum_over_processes(fabric: Fabric, x: torch.Tensor) -> torch.Tensor:
    """Return the sum of x over the processes.

    Fabric's own all_reduce has a barrier first, at which the host waits.
    """
    if fabric.world_size == 1:
        return x
    total = x.clone()
    dist.all_reduce(total)
    return total


def _make_strategy(place: Place) -> DDPStrategy:
    """Give this process one of the GPUs that it sees, whether it sees all or only its own.

    Fabric takes the entry at the local rank.
    """
    own = choose_device()
    if own.type == "cuda":
        own = torch.device("cuda", place.local_rank % torch.cuda.device_count())
    # The buffers are the same everywhere, because batch norm is over all processes.
    option = "forward_sync_buffers"  # its name since PyTorch 2.15
    if option not in inspect.signature(DistributedDataParallel.__init__).parameters:
        option = "broadcast_buffers"
    no_broadcast: dict[str, Any] = {option: False}
    return DDPStrategy(parallel_devices=[own] * place.world_size, **no_broadcast)


def _announce(place: Place) -> None:
    """Set torchrun's variables for PyTorch, whoever started the process."""
    os.environ |= {
        "RANK": str(place.rank),
        "WORLD_SIZE": str(place.world_size),
        "LOCAL_RANK": str(place.local_rank),
        "MASTER_ADDR": place.address,
        "MASTER_PORT": str(place.port),
    }


def _join(fabric: Fabric, place: Place) -> None:
    """Wait for the other processes, and connect to them."""
    try:
        store = _meet(place, choose_device().type)
        fabric.launch()
        fabric.barrier()  # NCCL checks the GPUs only at its first call
        del store  # the first process serves the store until here
    except dist.DistError as error:
        raise InputError(_explain(place, str(error))) from None


def _meet(place: Place, kind: str) -> object:
    """Wait for the other processes, and refuse a run on GPUs and CPUs at once."""
    store = next(rendezvous("env://", place.rank, place.world_size, timeout=PATIENCE))[0]
    attempt = os.environ.get(
        "TORCHELASTIC_RESTART_COUNT", "0"
    )  # torchrun's store outlives an attempt
    store.set(f"ann/{attempt}/{place.rank}", kind)
    names = [store.get(f"ann/{attempt}/{rank}").decode() for rank in range(place.world_size)]
    if len(set(names)) > 1:
        raise InputError(
            f"all {place.world_size} processes or none must see a GPU, got "
            f"{names.count('cuda')} that do"
        )
    return store


def _explain(place: Place, error: str) -> str:
    """Return why the processes did not meet."""
    process = f"process {place.rank} of {place.world_size}"
    if "uplicate GPU" in error:
        return (
            f"{process} must have a GPU of its own, but shares it; use `srun --gpus-per-task=1` or "
            f"fewer processes"
        )
    return (
        f"{process} could not reach the others at {place.address}:{place.port} within "
        f"{PATIENCE.seconds // 60} minutes; start all at once, by torchrun or srun "
        f"({error.strip().splitlines()[0][:120]})"
    )


def _find_place() -> Place | None:
    """Read this process's place from torchrun's or SLURM's variables; None if it runs alone."""
    if TorchElasticEnvironment.detect():
        place = Place(
            rank=_read_number("RANK"),
            world_size=_read_number("WORLD_SIZE"),
            local_rank=_read_number("LOCAL_RANK"),
            address=os.environ.get("MASTER_ADDR") or "127.0.0.1",
            port=_read_number("MASTER_PORT"),
        )
        return _check_rank(place, "RANK", "WORLD_SIZE")
    return _find_slurm_place()


def _find_slurm_place() -> Place | None:
    """Read this process's place from SLURM's variables; None if it runs alone.

    In a batch script the variables describe the whole job. Only a step of `srun` has one process
    for each task. A process that the script or an interactive session starts runs alone.
    """
    step = _read_number("SLURM_STEP_ID", default=FIRST_SPECIAL_STEP)
    tasks = _read_number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", default=1)
    if step >= FIRST_SPECIAL_STEP or tasks <= 1:
        return None
    rank = _read_number("SLURM_PROCID")
    if _is_in_session(rank):
        return None
    nodes = _read_number("SLURM_STEP_NUM_NODES", "SLURM_NNODES", default=1)
    if not nodes or tasks % nodes:
        name = "SLURM_STEP_NUM_TASKS" if os.environ.get("SLURM_STEP_NUM_TASKS") else "SLURM_NTASKS"
        raise InputError(
            f"{name} must be a multiple of the {nodes} nodes, got {tasks}; set --ntasks-per-node"
        )
    variables = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
    hosts = next(filter(None, map(os.environ.get, variables)), "127.0.0.1")
    job = _read_number("SLURM_JOB_ID", default=0)
    place = Place(
        rank=rank,
        world_size=tasks,
        local_rank=_read_number("SLURM_LOCALID"),
        address=os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(hosts),
        port=_read_number("MASTER_PORT", default=15000 + (job + 1000 * step) % 10000),
    )
    return _check_rank(place, "SLURM_PROCID", name="SLURM_STEP_NUM_TASKS or SLURM_NTASKS")


def _is_in_session(rank: int) -> bool:
    """Tell whether somebody started this process in the shell of an interactive session.

    Only the first task of a session has a shell. The steps that `srun` starts from there inherit
    its variables, so the variables alone are not enough.
    """
    has_session = os.environ.get("SLURM_JOB_NAME") in SESSIONS or os.environ.get("SLURM_PTY_PORT")
    return bool(has_session) and rank == 0 and not _is_task()


def _is_task() -> bool:
    """Tell whether SLURM's daemon started this process, with no terminal between the two."""
    this = psutil.Process()
    for process in (this, *this.parents()):
        if process.name() == "slurmstepd":
            return True
        if process.terminal():
            return False
    return False


def _check_rank(place: Place, rank: str, name: str) -> Place:
    """Return the place if its rank is below its world size, whose variables are `name`."""
    if not place.rank < place.world_size:
        raise InputError(f"{rank} must be below {name}, {place.world_size}, got {place.rank}")
    return place


def _read_number(*names: str, default: int | None = None) -> int:
    """Return the number in the first of these variables that is not empty."""
    for name in names:
        value = os.environ.get(name, "").strip()
        if value and not (value.isascii() and value.isdecimal() and len(value) <= 12):
            raise InputError(f"{name} must be a whole number from 0, got {shorten(value)}")
        if value:
            return int(value)
    if default is None:
        raise InputError(f"{names[0]} is not set to a number; torchrun or srun sets it")
    return default
