"""The options of the blocks in params.yaml."""

from typing import Any, Literal

from pydantic import create_model

from pipeline.settings.fields import Strict


class Choices(Strict):
    """The options of ann.BlockOptions, which explains them, that the blocks' costs depend on."""

    normalization: Literal["softmax", "rescaling", "none"]
    output: Literal["concat", "residual"]
    share_query_key: bool
    share_key_value: bool
    embedding_norm: bool
    scale: bool
    zero_init: bool
    bias: bool


class Options(Choices):
    """All options of ann.BlockOptions."""

    output_norm: bool
    fusion_relu: bool
    form: Literal["fast", "plain", "fused"]
    recompute: bool


# A variant may change any option of its profile.
_OPTION_FIELDS: Any = {
    name: (field.annotation, None) for name, field in Options.model_fields.items()
}
OwnOptions: Any = create_model("OwnOptions", __base__=Strict, **_OPTION_FIELDS)
