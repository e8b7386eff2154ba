"""The types of the values of params.yaml: their ranges and their names."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError

BACKBONES = ("small", "resnet18", "resnet34", "resnet50", "resnet101")
TIMM = "timm/"  # before the name of a backbone of timm


def _check_backbone(name: str) -> str:
    if name not in BACKBONES and not name.startswith(TIMM):
        raise PydanticCustomError(
            "backbone", f"must be one of {', '.join(BACKBONES)} or {TIMM}NAME, a model of timm"
        )
    return name


Count = Annotated[int, Field(ge=1, le=10**9)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Seeds = Annotated[list[Seed], Field(min_length=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Scale = Annotated[float, Field(ge=0.01, le=100)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
NotNegative = Annotated[float, Field(ge=0)]
Size = Annotated[tuple[Count, Count], Field(strict=False)]  # height, width
Range = Annotated[tuple[Scale, Scale], Field(strict=False)]  # YAML has lists, not tuples
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]  # of files too
Backbone = Annotated[str, AfterValidator(_check_backbone)]
Levels = Annotated[list[str], Field(min_length=2, max_length=2)]  # modules: Stage4's and Stage5's
Fusion = Literal["none", "common", "fnb", "afnb"]
Stem = Literal["plain", "deep", "deep64"]
Pixels = Literal["imagenet", "caffe", "timm"]
Precision = Literal["auto", "float32", "tf32", "bfloat16"]
Layout = Literal["authors", "mmseg"]
Protocol = Literal["whole", "sliding", "multi_scale"]
TableName = Literal["ablation", "sampling", "beyond", "remedies"]
_Scalar = bool | int | float | str
NetworkSettings = dict[str, Any]  # as `Params.resolve_network` returns them
# Those of them that shape the backbone's modules.
BACKBONE_SETTINGS = ("backbone", "stem", "ceil_mode", "output_stride", "widths", "levels")
OwnSettings = dict[Name, _Scalar | list[_Scalar]]  # of a file of contexts/, which has their types
Sampling = Literal["random", "max", "average", "pyramid_random", "pyramid_max", "pyramid_average"]
DatasetName = Literal["cityscapes", "camvid", "ade20k", "pascal_context"]


class Strict(BaseModel):
    """A part of params.yaml: no other keys, no conversion of types, no infinite numbers."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)
