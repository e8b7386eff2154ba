"""The processes of one run: a single one, or those that torchrun or SLURM started."""

import os

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

from pipeline.common.cli import InputError


def launch(precision: str = "float32") -> Fabric:
    """Join the other processes of this run, if any; gloo connects them on CPUs, NCCL on GPUs."""
    devices, nodes, environment = _place()
    fabric = Fabric(
        accelerator=device().type,
        devices=devices,
        num_nodes=nodes,
        precision="bf16-mixed" if precision == "bfloat16" else "32-true",
        plugins=[environment],
    )
    fabric.launch()
    return fabric


def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _place() -> tuple[int, int, ClusterEnvironment]:
    """Processes a machine, machines, and who started them.

    In a batch script SLURM's variables are those of the whole job: only a step of `srun` has one
    process a task, and what the script starts itself is a run of one process.
    """
    if TorchElasticEnvironment.detect():
        return _number("LOCAL_WORLD_SIZE"), _number("GROUP_WORLD_SIZE"), TorchElasticEnvironment()
    tasks, nodes = _number("SLURM_NTASKS"), _number("SLURM_NNODES")
    if "SLURM_STEP_ID" not in os.environ or tasks == 1:
        return 1, 1, LightningEnvironment()
    if tasks % nodes:
        raise InputError(
            f"SLURM_NTASKS is {tasks}; allowed are multiples of the {nodes} nodes, as by "
            f"--ntasks-per-node"
        )
    os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(tasks // nodes))  # Fabric wants it
    return tasks // nodes, nodes, SLURMEnvironment()


def _number(name: str) -> int:
    return int(os.environ.get(name, "1"))
