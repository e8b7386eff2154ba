"""Randomness inside the network as a pure function of a sample's key.

Every sample of a batch carries one 64-bit key, made from (seed, iteration, slot). Dropout masks
and random sampling positions are hashes of that key, so they do not depend on the batch's
composition, the number of processes, the device or a restart.
"""

import torch
from torch import Tensor, nn

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio as a signed 64-bit number
_GOLDEN_INVERSE = -1018231460777725123  # modulo 2^64
_MIX_1 = -4658895280553007687  # the multipliers of the splitmix64 finaliser
_MIX_2 = -7723592293110705685


def _shift_right(x: Tensor, bits: int) -> Tensor:
    return (x >> bits) & ((1 << (64 - bits)) - 1)  # int64 shifts drag the sign along


def uniform(keys: Tensor, stream: int, count: int) -> Tensor:
    """Uniform numbers in [0, 1): keys (B,) int64 -> (B, count) float32.

    `stream` separates the users of one key, such as the dropout layers of a network.
    """
    counter = torch.arange(1, count + 1, device=keys.device) + (stream << 32)
    # keys + counter * _GOLDEN, in an order in which TorchInductor multiplies no constants: it would
    # do so without the wrap-around at 64 bits, and fail.
    x = (keys[:, None] * _GOLDEN_INVERSE + counter) * _GOLDEN
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    x = x ^ _shift_right(x, 31)
    return _shift_right(x, 40).float() / (1 << 24)


class Dropout2d(nn.Module):
    """Dropout of whole channels, (B, C, H, W), with masks that depend on the samples' keys only."""

    def __init__(self, p: float, stream: int) -> None:
        super().__init__()
        self.p, self.stream = p, stream

    def forward(self, x: Tensor, keys: Tensor | None) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if keys is None:
            raise ValueError("dropout in training needs one key a sample: pass keys to the network")
        keep = uniform(keys, self.stream, x.shape[1]) >= self.p
        return x * (keep / (1 - self.p)).to(x.dtype)[:, :, None, None]
