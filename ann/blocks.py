"""The non-local blocks of the paper: NB, APNB, FNB and AFNB (sections 3.1 to 3.3).

The four are one computation. Query comes from the map itself, key and value from the map (NB,
APNB) or from a lower level (FNB, AFNB), and the asymmetric ones sample key and value to S
anchors first, which turns O(C^ N^2) into O(C^ N S).

    V = f(query^T key)      (N x S, or N x N without sampling)
    O = V value^T           (N x C^)
    Y = cat(W_o(O^T), X)    or W_o(O^T) + X
"""

from dataclasses import dataclass

from torch import Tensor, nn

from ann import fast, plain
from ann.noise import Dropout2d
from ann.sampling import Sampler

NORMALIZATIONS = ("softmax", "rescaling", "none")
OUTPUTS = ("concat", "residual")
FORMS = ("fast", "plain", "fused")


@dataclass(frozen=True)
class BlockOptions:
    """Where the paper leaves a choice, or its released code differs from its equations.

    normalization: f of the paper: softmax over the positions, division by their number, none.
    output: Y = cat(W_o(O^T), X) with a fusing 1x1 convolution as in the code, or W_o(O^T) + X.
    share_query_key: paper, no; code, yes, in APNB (phi and theta are one convolution).
    share_key_value: paper, yes, in FNB and AFNB (E_l is key and value); code, no.
    embedding_norm: paper, plain convolutions; code, batch norm and ReLU after query and key.
    scale: paper, none; code, the query is scaled by key_channels ** -0.5.
    zero_init: paper does not say; code, W_o starts at zero.
    bias: paper does not say; code, a bias in the convolutions before batch norm.
    form: fast (ann.fast) or plain (ann.plain), the same block but for rounding; fused is the fast
        one with scaled_dot_product_attention always, which it else takes where it is faster.
    """

    normalization: str = "softmax"
    output: str = "concat"
    share_query_key: bool = False
    share_key_value: bool = True
    embedding_norm: bool = False
    scale: bool = False
    zero_init: bool = False
    bias: bool = False
    form: str = "fast"

    def __post_init__(self) -> None:
        choices = (("normalization", NORMALIZATIONS), ("output", OUTPUTS), ("form", FORMS))
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} is {getattr(self, name)!r}; allowed are {', '.join(allowed)}"
                )
        if self.form == "fused" and self.normalization != "softmax":
            raise ValueError(
                f"normalization is {self.normalization!r}; allowed in the fused form is softmax"
            )


def embedding(inputs: int, outputs: int, norm: bool, bias: bool = False) -> nn.Module:
    """A 1x1 convolution; with `norm`, batch norm and ReLU follow, and `bias` is before them."""
    if not norm:
        return nn.Conv2d(inputs, outputs, 1)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=bias), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class NonLocalBlock(nn.Module):
    """NB, or APNB with a sampler, or FNB with `low_channels`, or AFNB with both.

    channels: C of X (X_h in the fusion blocks), also the output's.
    low_channels: channels of the low-level map X_l; None where the block attends to X itself.
    key_channels, value_channels: C^ of query and key, and of value.
    relu, dropout: what follows the fusing convolution and its batch norm. The code has a ReLU
        in APNB and none in AFNB; `stream` keeps the dropout layers of a network apart.
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
                f"value_channels is {value_channels}; with share_key_value allowed is only "
                f"key_channels, {key_channels}"
            )
        norm, bias = options.embedding_norm, options.bias
        self.query = embedding(channels, key_channels, norm, bias)
        shared = options.share_query_key and not self.fuses
        self.key = None if shared else embedding(source, key_channels, norm, bias)
        self.value = None if share_value else nn.Conv2d(source, value_channels, 1)
        self.output = nn.Conv2d(value_channels, channels, 1)  # W_o
        self.fuse: nn.Sequential | None = None
        if options.output == "concat":
            layers = [nn.Conv2d(2 * channels, channels, 1, bias=bias), nn.BatchNorm2d(channels)]
            self.fuse = nn.Sequential(*layers, *([nn.ReLU(inplace=True)] if relu else []))
        self.dropout = Dropout2d(dropout, stream)
        if options.zero_init:
            nn.init.zeros_(self.output.weight)
            nn.init.zeros_(self.output.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, low: Tensor | None = None, keys: Tensor | None = None) -> Tensor:
        """x (B, C, H, W), low (B, C_l, H, W) in the fusion blocks -> (B, C, H, W)."""
        self._check(x, low)
        form = plain if self.options.form == "plain" else fast
        return self.dropout(form.forward(self, x, x if low is None else low, keys), keys)

    def _check(self, x: Tensor, low: Tensor | None) -> None:
        if self.fuses != (low is not None):
            raise ValueError(
                "low is given to the fusion blocks (low_channels set) and only to them"
            )
        for name, value, channels in (("x", x, self.channels), ("low", low, self.low_channels)):
            if value is None:
                continue
            if value.shape[1] != channels:
                raise ValueError(f"{name} has {value.shape[1]} channels; allowed is {channels}")
