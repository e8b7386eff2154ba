"""Read the images of a split in groups that a network takes at once."""

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.data.features.store import Features
from pipeline.data.prepared.store import Store
from pipeline.data.samples.loader import stack_maps
from pipeline.data.samples.workers import choose_workers, read_ahead
from pipeline.scoring.predict import stack_images


class Group(NamedTuple):
    """Images of one size that the network takes at once.

    Attributes:
        numbers: Their numbers in the split.
        images: (B, 3, H, W) uint8.
        labels: (B, H, W) uint8.
        maps: The backbone's maps of the images, where they are computed before.
    """

    numbers: list[int]
    images: Tensor
    labels: Tensor
    maps: tuple[Tensor, Tensor] | None


class Groups(Dataset[Group]):
    """The groups of a split, each read on access."""

    def __init__(self, store: Store, groups: list[list[int]], features: Features | None) -> None:
        self.store, self.groups, self.features = store, groups, features

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, number: int) -> Group:
        group, features = self.groups[number], self.features
        samples = [self.store[i] for i in group]
        return Group(
            group,
            stack_images([sample.image for sample in samples]),
            torch.from_numpy(np.stack([sample.label for sample in samples])),
            stack_maps([features.read(i) for i in group]) if features else None,
        )


def group_by_size(store: Store, batch_size: int) -> list[list[int]]:
    """Return batches of samples in their order; a new one starts when the size changes."""
    groups: list[list[int]] = []
    for i, size in enumerate(store.sizes):
        if groups and len(groups[-1]) < batch_size and store.sizes[groups[-1][-1]] == size:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups


def share_groups(groups: list[list[int]], keep: Collection[int], fabric: Fabric) -> list[list[int]]:
    """Return this process' groups; the first process gets all that have an image of `keep`."""
    kept = [group for group in groups if not set(keep).isdisjoint(group)]
    others = [group for group in groups if group not in kept]
    own = others[fabric.global_rank :: fabric.world_size]
    return sorted(kept + own) if fabric.is_global_zero else own


def load_groups(groups: Groups, device: torch.device) -> Iterator[Group]:
    """Yield the groups; for a GPU, other processes read them ahead.

    Raises:
        InputError: A file can no longer be read.
    """
    if not len(groups):
        return
    workers, note = choose_workers(device, lambda: _count_bytes(groups))
    if note:
        print(note)
    loader = DataLoader(
        groups,
        batch_size=None,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        collate_fn=_return_unchanged,  # type: ignore[arg-type]
    )
    yield from read_ahead(loader)


def _count_bytes(groups: Groups) -> int:
    """Return the bytes of the group with the most pixels."""

    def count_pixels(number: int) -> int:
        numbers = groups.groups[number]
        height, width = groups.store.sizes[numbers[0]]
        return len(numbers) * height * width

    group = groups[max(range(len(groups)), key=count_pixels)]
    return sum(values.nbytes for values in (group.images, group.labels, *(group.maps or ())))


def _return_unchanged(group: Group) -> Group:
    return group
