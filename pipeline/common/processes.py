"""The processes of one run: a single one, or those that torchrun or SLURM started."""

import os
from dataclasses import dataclass
from datetime import timedelta

import psutil
import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.ddp import DDPStrategy
from torch.distributed.rendezvous import rendezvous

from pipeline.common.cli import InputError, brief
from pipeline.common.gpus import device

PATIENCE = timedelta(minutes=5)  # for processes that start later
FIRST_SPECIAL_STEP = 4294967290  # from here SLURM counts steps without tasks, as interactive
SESSIONS = ("bash", "interactive")  # job names that Lightning reads as an interactive session too


@dataclass(frozen=True)
class Place:
    """Where this process stands among those of its run."""

    rank: int
    world_size: int
    local_rank: int
    address: str
    port: int


def launch(precision: str = "float32") -> Fabric:
    """Join the other processes of this run, if any; gloo connects them on CPUs, NCCL on GPUs."""
    place = _place()
    if place:
        _announce(place)
    fabric = Fabric(
        accelerator=device().type,
        devices=1,
        strategy=_strategy(place) if place else "auto",
        precision="bf16-mixed" if precision == "bfloat16" else "32-true",
        plugins=[TorchElasticEnvironment() if place else LightningEnvironment()],
    )
    if place:
        _join(fabric, place)
    else:
        fabric.launch()
    return fabric


def _strategy(place: Place) -> DDPStrategy:
    """Give this process one of the GPUs that it sees, which are all of its machine or only its own.

    Fabric takes the entry at the local rank.
    """
    own = device()
    if own.type == "cuda":
        own = torch.device("cuda", place.local_rank % torch.cuda.device_count())
    return DDPStrategy(parallel_devices=[own] * place.world_size)


def _announce(place: Place) -> None:
    """Tell PyTorch the place in torchrun's variables, whoever started the process."""
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
        store = _meet(place, device().type)
        fabric.launch()
        fabric.barrier()  # NCCL looks at the GPUs only when it is used
        del store  # the first process serves it until here
    except dist.DistError as error:
        raise InputError(_explain(place, str(error))) from None


def _meet(place: Place, kind: str) -> object:
    """Wait for the other processes, and refuse a run on GPUs and CPUs at once."""
    store = next(rendezvous("env://", place.rank, place.world_size, timeout=PATIENCE))[0]
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")  # torchrun's store outlives one
    store.set(f"ann/{attempt}/{place.rank}", kind)
    names = [store.get(f"ann/{attempt}/{rank}").decode() for rank in range(place.world_size)]
    if len(set(names)) > 1:
        raise InputError(
            f"{names.count('cuda')} of the {place.world_size} processes see a GPU; allowed are "
            f"all or none"
        )
    return store


def _explain(place: Place, error: str) -> str:
    """Say why the processes did not come together."""
    who = f"process {place.rank} of {place.world_size}"
    if "uplicate GPU" in error:
        return (
            f"{who} shares its GPU with another; allowed is one process a GPU, as by "
            f"`srun --gpus-per-task=1` or fewer processes"
        )
    return (
        f"{who} found no connection to the others at {place.address}:{place.port}, for which it "
        f"waits {PATIENCE.seconds // 60} minutes; allowed is a start of all at once, by torchrun "
        f"or srun ({error.strip().splitlines()[0][:120]})"
    )


def _place() -> Place | None:
    """Find who started this process and where it stands; None if it runs alone."""
    if TorchElasticEnvironment.detect():
        place = Place(
            rank=_number("RANK"),
            world_size=_number("WORLD_SIZE"),
            local_rank=_number("LOCAL_RANK"),
            address=os.environ.get("MASTER_ADDR") or "127.0.0.1",
            port=_number("MASTER_PORT"),
        )
        return _checked(place, "RANK", "WORLD_SIZE")
    return _slurm_place()


def _slurm_place() -> Place | None:
    """Read the place from SLURM's variables.

    In a batch script they are those of the whole job: only a step of `srun` has one process a task,
    and what the script starts itself is a run of one process. So is what a session starts.
    """
    step = _number("SLURM_STEP_ID", default=FIRST_SPECIAL_STEP)
    tasks = _number("SLURM_STEP_NUM_TASKS", "SLURM_NTASKS", default=1)
    if step >= FIRST_SPECIAL_STEP or tasks <= 1:
        return None
    rank = _number("SLURM_PROCID")
    if _in_session(rank):
        return None
    nodes = _number("SLURM_STEP_NUM_NODES", "SLURM_NNODES", default=1)
    if not nodes or tasks % nodes:
        name = "SLURM_STEP_NUM_TASKS" if os.environ.get("SLURM_STEP_NUM_TASKS") else "SLURM_NTASKS"
        raise InputError(
            f"{name} is {tasks}; allowed are multiples of the {nodes} nodes, as by "
            f"--ntasks-per-node"
        )
    listed = ("SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST")
    hosts = next(filter(None, map(os.environ.get, listed)), "127.0.0.1")
    job = _number("SLURM_JOB_ID", default=0)
    place = Place(
        rank=rank,
        world_size=tasks,
        local_rank=_number("SLURM_LOCALID"),
        address=os.environ.get("MASTER_ADDR") or SLURMEnvironment.resolve_root_node_address(hosts),
        port=_number("MASTER_PORT", default=15000 + (job + 1000 * step) % 10000),
    )
    return _checked(place, "SLURM_PROCID", name="SLURM_STEP_NUM_TASKS or SLURM_NTASKS")


def _in_session(rank: int) -> bool:
    """Tell whether this is what somebody started in the shell of an interactive session.

    Only the first task of a session has a shell. The steps that `srun` starts from there inherit
    its variables, so the variables alone do not tell.
    """
    named = os.environ.get("SLURM_JOB_NAME") in SESSIONS or os.environ.get("SLURM_PTY_PORT")
    return bool(named) and rank == 0 and not _started_as_task()


def _started_as_task() -> bool:
    """Tell whether SLURM's daemon started this process, with no terminal between the two."""
    this = psutil.Process()
    for process in (this, *this.parents()):
        if process.name() == "slurmstepd":
            return True
        if process.terminal():
            return False
    return False


def _checked(place: Place, rank: str, name: str) -> Place:
    if not place.rank < place.world_size:
        raise InputError(
            f"{rank} is {place.rank}; allowed are numbers below {place.world_size}, which {name} is"
        )
    return place


def _number(*names: str, default: int | None = None) -> int:
    """Return the first of these variables that is set; an empty one is not."""
    for name in names:
        value = os.environ.get(name, "").strip()
        if value and not (value.isascii() and value.isdecimal() and len(value) <= 12):
            raise InputError(f"{name} is {brief(value)}; allowed are whole numbers from 0")
        if value:
            return int(value)
    if default is None:
        raise InputError(f"{names[0]} is not set to a number; torchrun or srun sets it")
    return default
