"""The options of a non-local block."""

from dataclasses import dataclass

NORMALIZATIONS = ("softmax", "rescaling", "none")
OUTPUTS = ("concat", "residual")
FORMS = ("fast", "plain", "fused")


@dataclass(frozen=True)
class BlockOptions:
    """The choices that the paper leaves open, or that its released code makes differently.

    Attributes:
        normalization: The paper's f. `softmax` is over the S positions, `rescaling` divides by S,
            and `none` changes nothing.
        output: `concat` is Y = cat(W_o(O^T), X) with a fusing 1x1 convolution, as in the code.
            `residual` is Y = W_o(O^T) + X.
        share_query_key: Query and key are one convolution in NB and APNB. Paper: no. Code: yes.
        share_key_value: Key and value are one convolution in FNB and AFNB. Paper: yes. Code: no.
        embedding_norm: Batch norm and ReLU follow the convolutions of query and key. Paper: no.
            Code: yes.
        scale: The query is multiplied by K ** -0.5. Paper: no. Code: yes.
        zero_init: W_o starts at zero. The paper does not say. Code: yes.
        bias: The convolutions before a batch norm have a bias. The paper does not say. Code: yes.
        output_norm: A batch norm follows W_o. With `zero_init` its weight starts at zero, and W_o's
            does not. The block then computes the plain form, because the norm cannot be folded. The
            paper does not say. Code: no.
        fusion_relu: In a SegmentationNetwork a ReLU ends FNB and AFNB, as it ends NB and APNB. The
            paper does not say. Code: no.
        form: `plain` computes the paper's equations as they stand (ann.plain). `fast` computes the
            same result, up to rounding, with less time and memory (ann.fast). `fused` is `fast`
            and always uses PyTorch's fused attention, which `fast` uses only where it is faster.
        recompute: The backward pass computes query, key, value and attention again in place of
            keeping them (activation checkpointing). The result is the same, bit for bit. It needs
            less memory and more time.

    Raises:
        ValueError: It names the option and the allowed values.
    """

    normalization: str = "softmax"
    output: str = "concat"
    share_query_key: bool = False
    share_key_value: bool = True
    embedding_norm: bool = False
    scale: bool = False
    zero_init: bool = False
    bias: bool = False
    output_norm: bool = False
    fusion_relu: bool = False
    form: str = "fast"
    recompute: bool = False

    def __post_init__(self) -> None:
        choices = (("normalization", NORMALIZATIONS), ("output", OUTPUTS), ("form", FORMS))
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}"
                )
        if self.form == "fused" and self.normalization != "softmax":
            raise ValueError(
                f"normalization must be softmax in the fused form, got {self.normalization!r}"
            )
        if self.form == "fused" and self.output_norm:
            raise ValueError("output_norm must be False in the fused form, got True")
