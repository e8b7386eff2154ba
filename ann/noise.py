"""Randomness inside the network as a pure function of a sample's id.

Every sample of a batch has one 64-bit id, made from (seed, iteration, slot). Dropout masks and
random sampling positions are hashes of that id. So they do not depend on the batch's composition,
the number of processes, the device or a restart.
"""

import torch
from torch import Tensor, nn

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio as a signed 64-bit number
_GOLDEN_INVERSE = -1018231460777725123  # modulo 2^64
_MIX_1 = -4658895280553007687  # the multipliers of the splitmix64 finaliser
_MIX_2 = -7723592293110705685


def _shift_right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # int64 shifts drag the sign along


def uniform(sample_ids: Tensor, stream: int, count: int) -> Tensor:
    """Return uniform numbers in [0, 1).

    Args:
        sample_ids: (B,) int64.
        stream: A number that separates the users of one id, such as a network's dropout layers.
        count: The numbers of each sample.

    Returns:
        (B, count) float32.
    """
    counter = torch.arange(1, count + 1, device=sample_ids.device) + (stream << 32)
    # sample_ids + counter * _GOLDEN. In this order TorchInductor multiplies no constants: it would
    # do so without the wrap-around at 64 bits, and fail.
    x = (sample_ids[:, None] * _GOLDEN_INVERSE + counter) * _GOLDEN
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    x = x ^ _shift_right(x, 31)
    return _shift_right(x, 40).float() / (1 << 24)


class Dropout2d(nn.Module):
    """Dropout of whole channels, with masks that depend on the samples' ids only.

    Args:
        p: The probability that a channel is dropped.
        stream: A number that keeps the users of one id apart.
    """

    def __init__(self, p: float, stream: int) -> None:
        super().__init__()
        self.p, self.stream = p, stream

    def forward(self, x: Tensor, sample_ids: Tensor | None) -> Tensor:
        """Return x in evaluation, and x with some of its channels at zero in training.

        Args:
            x: (B, C, H, W).
            sample_ids: (B,) int64; may be None in evaluation.

        Returns:
            (B, C, H, W).

        Raises:
            ValueError: There are no sample_ids in training.
        """
        if not self.training or self.p == 0:
            return x
        if sample_ids is None:
            raise ValueError(
                "dropout in training needs one id a sample; pass sample_ids to the network"
            )
        keep = uniform(sample_ids, self.stream, x.shape[1]) >= self.p
        return x * (keep / (1 - self.p)).to(x.dtype)[:, :, None, None]
