"""Stage features: compute the maps of a frozen backbone once, if the profile says so.

    python -m pipeline features

It writes data/features/<profile>: Stage4 and Stage5 of every image and of its mirror image in half
precision (see pipeline.data.features), and manifest.json. It resumes after an interruption. Without
`features.cache` there is only the manifest, which says so.
"""

import errno
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ann import SegmentationNetwork
from pipeline.data.features.origin import select_settings
from pipeline.data.features.store import VIEWS, Maps, Writer, map_digest, read_maps
from pipeline.data.formats import SPLITS
from pipeline.data.prepared import space
from pipeline.data.prepared.journal import CONTENT, Entry, Journal, open_partial_folder
from pipeline.data.prepared.store import Store
from pipeline.engine import networks, weights
from pipeline.engine.errors import InputError
from pipeline.engine.files import digest, whole_folder
from pipeline.engine.gpus import choose_device
from pipeline.engine.progress import Reporter
from pipeline.engine.weight_files import digest_weights
from pipeline.settings import code, params, records
from pipeline.settings.paths import MANIFEST, locate_features, locate_prepared
from pipeline.settings.records import FeatureManifest, Manifest
from pipeline.settings.schema import Profile

_FULL = (errno.ENOSPC, errno.EDQUOT)


def compute_features(profile: Profile, data: Path, out: Path) -> FeatureManifest:
    """Compute the maps of all images, and write them to `out` completely or not at all.

    Args:
        profile: The profile.
        data: Its prepared data.
        out: The folder to write to.

    Returns:
        The manifest, which is also in `out`.

    Raises:
        InputError: An image has a size that the maps cannot have, or the disk is full.
    """
    prepared = records.read(Manifest, data / MANIFEST)
    stores = {split: Store(data, split) for split in SPLITS}
    _check_sizes(profile, stores)
    network = _build_network(profile)
    settings = select_settings(profile.network.model_dump())
    sha256 = digest_weights(profile.network.backbone, profile.network.weights)
    device = choose_device()
    signature = digest(
        [
            prepared.digest,
            settings,
            sha256,
            code.digests("features"),
            torch.__version__,
            device.type,
        ]
    )
    with open_partial_folder(out, signature) as folder:
        _require_space(profile, stores, network, folder / CONTENT)
        network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        try:
            digests = {s: list(_fill(network, stores[s], s, folder)) for s in SPLITS}
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise InputError(
                f"{folder}: the disk is full; free some space and run it again"
            ) from None
        manifest = FeatureManifest(
            version=1,
            cached=True,
            dataset_digest=prepared.digest,
            backbone=settings,
            backbone_sha256=sha256,
            digest=digest(digests),
            torch=torch.__version__,
        )
        records.write(folder / CONTENT / MANIFEST, manifest)
    return manifest


def _check_sizes(profile: Profile, stores: Mapping[str, Store]) -> None:
    """Refuse images whose maps have no whole number of positions, or that are below the crop."""
    stride, crop = profile.network.output_stride, profile.train.augment.crop
    for split, store in stores.items():
        for name, (height, width) in zip(store.names, store.sizes, strict=True):
            if height % stride or width % stride:
                raise InputError(
                    f"{name} must have sides that are multiples of the output stride, {stride}, "
                    f"with features.cache, got {width}x{height}"
                )
            if split == "train" and (height < crop[0] or width < crop[1]):
                raise InputError(
                    f"{name} must be at least as large as the crop, {crop[1]}x{crop[0]}, with "
                    f"features.cache, got {width}x{height}"
                )


def _build_network(profile: Profile) -> SegmentationNetwork:
    """Return a network with the frozen backbone and the simplest head."""
    settings = profile.network.model_dump() | {"fusion": "none", "context": "none"}
    del settings["contexts"]
    network = networks.build(settings, classes=1)
    assert settings["weights"] is not None
    for note in weights.load_backbone(network.backbone, settings["backbone"], settings["weights"]):
        print(note)
    return network.eval()


def _require_space(
    profile: Profile, stores: Mapping[str, Store], network: SegmentationNetwork, folder: Path
) -> None:
    """Refuse a disk without room for the maps."""
    area = profile.network.output_stride**2
    depth = network.backbone.stage4_channels + network.backbone.stage5_channels
    positions = sum(h * w // area for store in stores.values() for h, w in store.sizes)
    count = sum(map(len, stores.values()))
    other = "let the profile say features.cache: false"
    size = 2 * VIEWS * positions * depth
    space.require_space(folder, size, count, "images whose maps are computed", other)


def _fill(network: SegmentationNetwork, store: Store, split: str, folder: Path) -> Iterator[str]:
    """Compute what the journal of a split lacks; yield the digest of each image's maps."""
    channels = network.backbone.stage4_channels, network.backbone.stage5_channels
    content = folder / CONTENT

    def read_digest(entry: Entry, start: int) -> str:
        size = entry.height, entry.width
        return map_digest(entry.name, read_maps(content, split, start, size, channels, None))

    journal = Journal(folder / f"{split}.journal", read_digest)
    done = len(journal.entries)
    if done:
        print(f"features {split}: resumes after {done} of {len(store)}", flush=True)
    writer = Writer(content, split, channels, [entry[:3] for entry in journal.entries])
    try:
        with Reporter(f"features {split}", len(store), done) as reporter:
            for i in range(done, len(store)):
                name = store.names[i]
                maps = _extract(network, np.asarray(store[i].image), name)
                writer.add(name, maps)
                height, width = maps.stage4.shape[1:3]
                journal.add(Entry(name, height, width, map_digest(name, maps), []))
                reporter.update(i + 1)
    finally:
        journal.close()
    writer.close()
    yield from (entry.digest for entry in journal.entries)


@torch.inference_mode()
def _extract(network: SegmentationNetwork, image: Any, name: str) -> Maps:
    """Return the maps (VIEWS, h, w, C) of an image and of its mirror image."""
    views = torch.from_numpy(np.stack([image, image[:, ::-1]])).permute(0, 3, 1, 2)
    found = []
    for values in network.compute_maps(views.to(network.mean.device)):
        half = values.permute(0, 2, 3, 1).half()
        if not bool(torch.isfinite(half).all()):
            raise InputError(f"{name}: its maps must have values that half precision can hold")
        found.append(half.cpu().contiguous().numpy())
    return Maps(*found)


def main() -> None:
    settings = params.load()
    out, profile = locate_features(settings.profile), settings.active
    if not profile.features.cache:
        with whole_folder(out) as folder:
            nothing = dict.fromkeys(FeatureManifest.model_fields)
            values = nothing | {"version": 1, "cached": False}
            records.write(folder / MANIFEST, FeatureManifest.model_validate(values))
        print("the profile does not keep the backbone's maps: features.cache is false")
        return
    torch.set_num_threads(profile.features.threads)
    manifest = compute_features(profile, locate_prepared(settings.profile), out)
    print(f"{out}: digest {(manifest.digest or '')[:12]}")
