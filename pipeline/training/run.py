"""Describe everything that shapes a run, and compute the fingerprint that names it."""

import time
from dataclasses import dataclass

import torch

from pipeline.engine import provenance
from pipeline.engine.files import digest
from pipeline.engine.weight_files import digest_weights
from pipeline.settings import code, fields, schema
from pipeline.settings.contexts import digest_code
from pipeline.settings.records import (
    Config,
    DataVersion,
    Manifest,
    RunEnvironment,
    RunStart,
    TrainingCode,
)


@dataclass(frozen=True)
class Run:
    """Everything that shapes a run; `fingerprint` names it.

    Attributes:
        features: The digest of the backbone's maps, if they are computed before.
    """

    profile: str
    variant: str
    seed: int
    network: fields.NetworkSettings
    train: schema.Train
    manifest: Manifest
    precision: str
    device: str
    world_size: int
    features: str | None = None

    @property
    def classes(self) -> list[str]:
        return self.manifest.classes

    @property
    def config(self) -> Config:
        """The run's settings, with the precision that was chosen."""
        train = self.train.model_copy(update={"precision": self.precision})
        return Config(network=self.network, train=train, seed=self.seed)

    @property
    def backbone_sha256(self) -> str | None:
        """The digest of the file of the backbone's weights, if there is one."""
        return digest_weights(self.network["backbone"], self.network["weights"])

    @property
    def code(self) -> str:
        """A digest of the code that trains the run."""
        return digest(code.digests("train") | digest_code(self.network["context"]))

    @property
    def fingerprint(self) -> str:
        """A digest of settings, data, weights, features, code, device, processes and PyTorch."""
        inputs = [
            self.config.model_dump(mode="json"),
            self.manifest.digest,
            self.backbone_sha256,
            *filter(None, [self.features]),
            self.code,
            self.device,
            self.world_size,
            torch.__version__,
        ]
        return digest(inputs)[:16]


def describe(run: Run) -> RunStart:
    """Return the record of where the run's numbers come from."""
    name = torch.cuda.get_device_name() if run.device == "cuda" else "cpu"
    data = run.manifest
    return RunStart(
        version=1,
        profile=run.profile,
        variant=run.variant,
        seed=run.seed,
        fingerprint=run.fingerprint,
        started=int(time.time()),
        dataset=DataVersion(name=data.dataset, title=data.title, digest=data.digest),
        backbone_sha256=run.backbone_sha256,
        features=run.features,
        config=run.config,
        code=TrainingCode(**provenance.read_code_version(), digest=run.code),
        environment=RunEnvironment(**provenance.describe_machine(name), processes=run.world_size),
    )
