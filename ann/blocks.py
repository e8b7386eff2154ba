"""The non-local blocks of the paper: NB, APNB, FNB and AFNB (sections 3.1 to 3.3).

The four are one computation. The query comes from the map X itself. Key and value come from X in NB
and APNB, and from a lower level in FNB and AFNB. APNB and AFNB sample key and value to S anchors
first, which turns O(C^ N^2) into O(C^ N S).

    V = f(query^T key)      (N x S, or N x N without sampling)
    O = V value^T           (N x C^)
    Y = cat(W_o(O^T), X)    or W_o(O^T) + X
"""

from torch import Tensor, nn

from ann import fast, plain
from ann.layers import Layers
from ann.noise import Dropout2d
from ann.options import BlockOptions
from ann.sampling import Sampler


def embedding(inputs: int, outputs: int, norm: bool, bias: bool = False) -> nn.Module:
    """Return a 1x1 convolution, or with `norm` one with batch norm and ReLU after it.

    Args:
        inputs: Channels of the input.
        outputs: Channels of the output.
        norm: Whether batch norm and ReLU follow.
        bias: Whether the convolution before batch norm has a bias. Without `norm` it has one.
    """
    if not norm:
        return nn.Conv2d(inputs, outputs, 1)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=bias), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class NonLocalBlock(nn.Module):
    """NB, or APNB with a sampler, or FNB with `low_channels`, or AFNB with both.

    Args:
        channels: C, of X (the paper's X_h in the fusion blocks) and of the output.
        key_channels: K.
        value_channels: V; the same as K where key and value are one convolution.
        low_channels: C_l, of the low-level map X_l; None where the block attends to X itself.
        sampler: It samples key and value.
        options: The choices that the paper leaves open; None stands for the paper's.
        relu: Whether a ReLU follows the fusing convolution and its batch norm. The code has one in
            APNB and none in AFNB.
        dropout: The probability of the dropout at the end.
        stream: A number that keeps the dropout layers of a network apart.

    Raises:
        ValueError: It names the argument and the allowed value.
    """

    def __init__(
        self,
        channels: int,
        *,
        key_channels: int,
        value_channels: int,
        low_channels: int | None = None,
        sampler: Sampler | None = None,
        options: BlockOptions | None = None,
        relu: bool = True,
        dropout: float = 0.0,
        stream: int = 0,
    ) -> None:
        super().__init__()
        self.options = options = options or BlockOptions()
        self.sampler, self.fuses = sampler, low_channels is not None
        self.channels, self.low_channels = channels, low_channels
        source = channels if low_channels is None else low_channels
        share_value = options.share_key_value and self.fuses
        if share_value and key_channels != value_channels:
            raise ValueError(
                f"value_channels must equal key_channels, {key_channels}, with share_key_value, "
                f"got {value_channels}"
            )
        norm, bias = options.embedding_norm, options.bias
        self.query = embedding(channels, key_channels, norm, bias)
        share_query = options.share_query_key and not self.fuses
        self.key = None if share_query else embedding(source, key_channels, norm, bias)
        self.value = None if share_value else nn.Conv2d(source, value_channels, 1)
        projection = nn.Conv2d(value_channels, channels, 1)  # W_o
        norm_after = nn.BatchNorm2d(channels) if options.output_norm else None
        self.output: nn.Module = projection
        if norm_after is not None:
            self.output = nn.Sequential(projection, norm_after)
        self.fuse: nn.Sequential | None = None
        if options.output == "concat":
            layers = [nn.Conv2d(2 * channels, channels, 1, bias=bias), nn.BatchNorm2d(channels)]
            self.fuse = nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))
        self.dropout = Dropout2d(dropout, stream)
        if options.zero_init:
            starts = norm_after or projection
            nn.init.zeros_(starts.weight)
            nn.init.zeros_(starts.bias)  # type: ignore[arg-type]

    def forward(
        self, x: Tensor, low: Tensor | None = None, sample_ids: Tensor | None = None
    ) -> Tensor:
        """Return the block's map.

        Args:
            x: (B, C, H, W).
            low: (B, C_l, h, w), in the fusion blocks only.
            sample_ids: (B,) int64, from which dropout and random sampling draw (see ann.noise).

        Returns:
            (B, C, H, W).

        Raises:
            ValueError: A map is missing, superfluous or has other channels.
        """
        self._check(x, low)
        form = plain if self.computes_plain else fast
        y = form.forward(self.get_layers(), x, x if low is None else low, sample_ids)
        return self.dropout(y, sample_ids)

    @property
    def computes_plain(self) -> bool:
        """Whether the options ask for the plain form."""
        return self.options.form == "plain" or self.options.output_norm

    def get_layers(self) -> Layers:
        """Return the layers and options as they are now; somebody may replace them later."""
        return Layers(
            self.query, self.key, self.value, self.output, self.fuse, self.sampler, self.options
        )

    def _check(self, x: Tensor, low: Tensor | None) -> None:
        if self.fuses != (low is not None):
            raise ValueError("low must be given if low_channels is set, and only then")
        for name, value, channels in (("x", x, self.channels), ("low", low, self.low_channels)):
            if value is None:
                continue
            if value.shape[1] != channels:
                raise ValueError(f"{name} must have {channels} channels, got {value.shape[1]}")
