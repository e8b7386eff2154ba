"""The protocols of evaluation: what must be equal is equal, and memory does not grow."""

import weakref
from collections import Counter
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ann import SegmentationNetwork
from pipeline.scoring.predict import predict
from pipeline.scoring.protocols import multi_scale, resize, sliding, whole, window_starts
from pipeline.scoring.sizes import list_input_sizes
from pipeline.settings.schema import Evaluate


def images(height: int, width: int, batch: int = 1, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, 3, height, width)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


@pytest.fixture(scope="module", params=[False, True], ids=["aligned_no", "aligned"])
def network(request: pytest.FixtureRequest) -> SegmentationNetwork:
    torch.manual_seed(0)
    made = SegmentationNetwork(
        5,
        backbone="small",
        widths=[8, 8, 8, 8],
        channels=8,
        key_channels=4,
        value_channels=4,
        fusion="afnb",
        context="apnb",
        pool_sizes=[1, 2],
        align_corners=request.param,
    )
    return made.eval().requires_grad_(False)


class PixelNetwork(nn.Module):
    """Its logits depend on the pixel alone, and are as large as the image."""

    align_corners = False

    def __init__(self, classes: int) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.classifier = nn.Conv2d(3, classes, 1, bias=False)
        self.register_buffer("mean", torch.tensor([100.0, 110.0, 120.0]))
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        assert images.dtype == torch.uint8
        self.shown.append(images)
        return self.classifier(images / 255 - 0.5), None


def pixel_network(classes: int = 5) -> Any:
    return PixelNetwork(classes).eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("length", "window", "stride", "expected"),
    [
        (10, 4, 3, [0, 3, 6]),
        (11, 4, 3, [0, 3, 6, 7]),  # the last one is moved inward
        (4, 4, 3, [0]),
        (5, 4, 4, [0, 1]),
        (2048, 769, 513, [0, 513, 1026, 1279]),
    ],
)
def test_windows_cover_the_axis(length: int, window: int, stride: int, expected: list[int]) -> None:
    assert window_starts(length, window, stride) == expected


@pytest.mark.parametrize("window", [(48, 64), (48, 64 + 8)])
def test_one_window_is_the_whole_image(
    network: SegmentationNetwork, window: tuple[int, int]
) -> None:
    """A window that is wider shows the mean colour beside the image, so it is cut off there."""
    x = images(48, 64, batch=2)
    shown = torch.full((2, 3, *window), 0, dtype=torch.uint8)
    shown[:] = network.mean.round()[:, None, None]
    shown[:, :, :48, :64] = x
    expected = whole(network, shown).softmax(dim=1)[:, :, :48, :64]
    assert torch.equal(sliding(network, x, window, (16, 16)), expected)


def test_one_scale_without_flip_is_the_whole_image(network: SegmentationNetwork) -> None:
    x = images(50, 61)
    expected = whole(network, x).softmax(dim=1)
    assert torch.equal(multi_scale(network, x, [1.0], False), expected)
    assert not torch.allclose(multi_scale(network, x, [1.5], False), expected, atol=1e-3)
    windows = partial(multi_scale, network, x, [1.0], False)
    assert torch.equal(windows((50, 61), (20, 20)), expected)  # the image is not larger
    part = windows((40, 48), (20, 20))
    assert torch.equal(part, sliding(network, x, (40, 48), (20, 20)))
    assert not torch.allclose(part, expected, atol=1e-3)


def test_the_flip_of_a_flipped_image_gives_the_flipped_result(network: SegmentationNetwork) -> None:
    x = images(50, 61)
    for window in (None, (40, 48)):
        flipped = partial(multi_scale, network, window=window, stride=window)
        a, b = (flipped(y, [0.75, 1.0], True) for y in (x, x.flip(3)))
        torch.testing.assert_close(a, b.flip(3))
        a, b = (flipped(y, [0.75, 1.0], False) for y in (x, x.flip(3)))
        assert not torch.allclose(a, b.flip(3), atol=1e-3)  # or else nothing was tested


def test_every_protocol_is_a_mean_of_probabilities(network: SegmentationNetwork) -> None:
    x = images(50, 61)
    for result in (
        sliding(network, x, (32, 32), (24, 20)),
        multi_scale(network, x, [0.75, 1.25], True),
        multi_scale(network, x, [0.75, 1.25], True, (40, 48), (30, 30)),
    ):
        assert result.shape == (1, 5, 50, 61)
        torch.testing.assert_close(result.sum(dim=1), torch.ones(1, 50, 61))
    plain, mirrored = (multi_scale(network, y, [0.75], False) for y in (x, x.flip(3)))
    three_quarters = multi_scale(network, x, [0.75], True)
    torch.testing.assert_close(three_quarters, (plain + mirrored.flip(3)) / 2)
    larger = multi_scale(network, x, [1.25], True)
    both = multi_scale(network, x, [0.75, 1.25], True)
    torch.testing.assert_close(both, (three_quarters + larger) / 2)


@pytest.mark.parametrize("window", [(5, 7), (16, 16), (23, 40), (40, 9)])
@pytest.mark.parametrize("stride", [(1, 3), (4, 4), (5, 7)])
def test_what_depends_on_the_pixel_alone_is_exact_by_windows(
    window: tuple[int, int], stride: tuple[int, int]
) -> None:
    """In sizes below, at and above the image's; padding shows the mean colour and never scores."""
    network, x = pixel_network(), images(23, 31)
    expected = whole(network, x).argmax(dim=1)
    assert len(expected.unique()) > 2
    network.shown.clear()
    assert torch.equal(sliding(network, x, window, stride).argmax(dim=1), expected)
    for shown in network.shown:
        assert shown.shape[2:] == window
    if window == (40, 9):
        assert all(
            (s[0, :, 23:].float() == network.mean[:, None, None]).all() for s in network.shown
        )
    by_scale = multi_scale(network, x, [1.0], True, window, stride)
    assert torch.equal(by_scale.argmax(dim=1), expected)


def test_predictions_are_of_the_images_size_one_image_at_a_time() -> None:
    network, x = pixel_network(), images(23, 31, batch=3)
    settings = Evaluate(
        precision="float32",
        batch_size=3,
        threads=1,
        protocols=["whole", "sliding", "multi_scale"],
        window=(16, 16),
        stride=(8, 8),
        scales=[1.0],
        flip=False,
    )
    expected = whole(network, x).argmax(dim=1).numpy()
    for protocol in settings.protocols:
        network.shown.clear()
        ids = predict(network, x, protocol, settings)
        assert ids.dtype == "uint8"
        assert (ids == expected).all()
        sizes = [len(s) for s in network.shown]
        assert sizes == ([3] if protocol == "whole" else 3 * [3, 3])  # six windows of each image
        assert list_input_sizes((23, 31), protocol, settings) == {
            s.shape[2:] for s in network.shown
        }


@pytest.mark.parametrize("sides", [(46, 1000), (40, 62), (60, 62)])
def test_images_are_resized_first(sides: tuple[int, int], network: SegmentationNetwork) -> None:
    x = images(23, 31)
    factor = min(sides[0] / 23, sides[1] / 31)
    larger = resize(x, factor)
    settings = Evaluate(
        precision="float32",
        batch_size=1,
        threads=1,
        protocols=["whole", "sliding", "multi_scale"],
        sides=sides,
        window=(32, 32),
        stride=(16, 16),
        scales=[1.0, 0.5],
        flip=True,
    )
    windows = (32, 32), (16, 16)
    for protocol, expected in (
        ("whole", whole(network, larger, (23, 31))),
        ("sliding", sliding(network, larger, *windows, (23, 31))),
        ("multi_scale", multi_scale(network, x, [factor, factor / 2], True, *windows)),
    ):
        ids = predict(network, x, protocol, settings)
        assert (ids == expected.argmax(dim=1).numpy()).all()
    assert list_input_sizes((23, 31), "whole", settings) == {tuple(larger.shape[2:])}


class Live(TorchDispatchMode):
    """The peak of the bytes of the tensors that operations made and that are still referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.users: Counter[int] = Counter()
        self.bytes: dict[int, int] = {}
        self.peak = 0

    def _release(self, key: int) -> None:
        self.users[key] -= 1
        if not self.users[key]:
            del self.users[key], self.bytes[key]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor):
                key = tensor.untyped_storage().data_ptr()
                self.users[key] += 1
                self.bytes[key] = tensor.untyped_storage().nbytes()
                weakref.finalize(tensor, self._release, key)
        self.peak = max(self.peak, sum(self.bytes.values()))
        return made


def test_memory_does_not_grow_with_the_number_of_windows_or_scales() -> None:
    network, x = pixel_network(), images(64, 96)
    network.shown = Counter()  # keeps nothing
    network.shown.append = lambda _: None

    def peak(call: Any) -> int:
        with torch.inference_mode(), Live() as live:
            call()
        return live.peak

    few = peak(lambda: sliding(network, x, (32, 32), (32, 32)))
    assert len(window_starts(64, 32, 2)) * len(window_starts(96, 32, 2)) == 561
    assert peak(lambda: sliding(network, x, (32, 32), (2, 2))) <= 1.01 * few
    sums = 5 * 4 * 64 * 96
    assert sums < few < sums + 3 * 5 * 4 * 32 * 32 + 2 * 4 * 64 * 96
    one = peak(lambda: multi_scale(network, x, [1.25], True))
    assert peak(lambda: multi_scale(network, x, [0.75, 1.0, 1.25], True)) <= 1.01 * one
