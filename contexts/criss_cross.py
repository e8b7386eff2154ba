"""Recurrent criss-cross attention of CCNet (section 3 there)."""

import torch
from torch import Tensor, nn

from ann import BlockOptions
from ann.backbone import conv_bn_relu
from contexts import require_at_least_one

TITLE = "criss-cross"
PAPER = "Huang et al., ICCV 2019, arXiv 1811.11721"


class Context(nn.Module):
    """Attention of each position to the H + W - 1 of its column and row.

    It is applied several times with the same weights. In equation 2 of CCNet, H is the map:

        H' = sum over the cross of softmax(query^T key) value + H
        Y = ReLU(BN(Conv(cat(H'', X))))

    Args:
        channels: C.
        options: The network's options. `scale` scales the query, as in the paper's blocks; CCNet
            does not.
        recurrence: How often the attention is applied, R in CCNet.
        width: K, channels of query and key; C / 8 in CCNet.

    Raises:
        ValueError: It names the setting and what is allowed.
    """

    def __init__(
        self, channels: int, options: BlockOptions, *, recurrence: int, width: int
    ) -> None:
        super().__init__()
        require_at_least_one(recurrence=recurrence, width=width)
        self.recurrence, self.scale = recurrence, width**-0.5 if options.scale else 1.0
        self.query, self.key = (nn.Conv2d(channels, width, 1) for _ in range(2))
        self.value = nn.Conv2d(channels, channels, 1)
        self.fuse = nn.Sequential(*conv_bn_relu(2 * channels, channels, 1, bias=options.bias))

    def forward(self, x: Tensor) -> Tensor:
        """Return a map of the shape of x, (B, C, H, W)."""
        dense = x
        for _ in range(self.recurrence):
            query, key, value = (m(dense) for m in (self.query, self.key, self.value))
            dense = attend(query * self.scale, key, value) + dense
        fused: Tensor = self.fuse(torch.cat([dense, x], dim=1))
        return fused


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Return each position's mean of the values in its column and row, weighted by a softmax.

    There are two batches of products, along the columns and along the rows, and one softmax over
    both. Of the N x (H + W) similarities the position's own counts once, as part of its row.

    Args:
        query: (B, K, H, W).
        key: (B, K, H, W).
        value: (B, V, H, W).

    Returns:
        (B, V, H, W).
    """
    height, width = query.shape[2:]
    by_row = [t.permute(0, 2, 3, 1) for t in (query, key, value)]  # (B, H, W, .)
    by_column = [t.permute(0, 3, 2, 1) for t in (query, key, value)]  # (B, W, H, .)
    along_row = by_row[0] @ by_row[1].transpose(2, 3)  # (B, H, W, W)
    along_column = by_column[0] @ by_column[1].transpose(2, 3)  # (B, W, H, H)
    own = torch.eye(height, dtype=torch.bool, device=query.device)
    along_column = along_column.masked_fill(own, -torch.inf).transpose(1, 2)  # (B, H, W, H)
    weights = torch.cat([along_row, along_column], dim=3).softmax(dim=3).to(value.dtype)
    row, column = weights.split([width, height], dim=3)
    total = row @ by_row[2] + (column.transpose(1, 2) @ by_column[2]).transpose(1, 2)
    return total.permute(0, 3, 1, 2)
