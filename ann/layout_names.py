"""What the published ANN models, the authors' and mmsegmentation's, call their modules."""

# Module here -> modules there. Every name that starts with it is renamed. There are two names where
# APNB's query and key are one convolution, whose tensors the published state dicts have twice.
_AUTHORS = {
    "backbone.stem.0": ("backbone.prefix.conv1",),
    "backbone.stem.1": ("backbone.prefix.bn1",),
    "backbone.stem.3": ("backbone.prefix.conv2",),
    "backbone.stem.4": ("backbone.prefix.bn2",),
    "backbone.stem.6": ("backbone.prefix.conv3",),
    "backbone.stem.7": ("backbone.prefix.bn3",),
    "backbone.layer": ("backbone.layer",),
    "fusion.query.0": ("fusion.stages.0.f_query.0",),
    "fusion.query.1": ("fusion.stages.0.f_query.1.0",),
    "fusion.key.0": ("fusion.stages.0.f_key.0",),
    "fusion.key.1": ("fusion.stages.0.f_key.1.0",),
    "fusion.value": ("fusion.stages.0.f_value",),
    "fusion.output": ("fusion.stages.0.W",),
    "fusion.fuse.0": ("fusion.conv_bn_dropout.0",),
    "fusion.fuse.1": ("fusion.conv_bn_dropout.1",),
    "reduce.0": ("context.0",),
    "reduce.1": ("context.1.0",),
    "context.query.0": ("context.2.stages.0.f_query.0", "context.2.stages.0.f_key.0"),
    "context.query.1": ("context.2.stages.0.f_query.1.0", "context.2.stages.0.f_key.1.0"),
    "context.value": ("context.2.stages.0.f_value",),
    "context.output": ("context.2.stages.0.W",),
    "context.fuse.0": ("context.2.conv_bn_dropout.0",),
    "context.fuse.1": ("context.2.conv_bn_dropout.1.0",),
    "classifier": ("cls",),
    "aux_reduce.0": ("dsn.0",),
    "aux_reduce.1": ("dsn.1.0",),
    "aux_classifier": ("dsn.3",),
}
_FUSION, _CONTEXT = "decode_head.fusion.", "decode_head.context."
_MMSEG = {
    "backbone": ("backbone",),
    "fusion.query.0": (_FUSION + "stages.0.query_project.conv",),
    "fusion.query.1": (_FUSION + "stages.0.query_project.bn",),
    "fusion.key.0": (_FUSION + "stages.0.key_project.conv",),
    "fusion.key.1": (_FUSION + "stages.0.key_project.bn",),
    "fusion.value": (_FUSION + "stages.0.value_project",),
    "fusion.output": (_FUSION + "stages.0.out_project",),
    "fusion.fuse.0": (_FUSION + "bottleneck.conv",),
    "fusion.fuse.1": (_FUSION + "bottleneck.bn",),
    "reduce.0": ("decode_head.bottleneck.conv",),
    "reduce.1": ("decode_head.bottleneck.bn",),
    "context.query.0": tuple(_CONTEXT + f"stages.0.{x}_project.conv" for x in ("query", "key")),
    "context.query.1": tuple(_CONTEXT + f"stages.0.{x}_project.bn" for x in ("query", "key")),
    "context.value": (_CONTEXT + "stages.0.value_project",),
    "context.output": (_CONTEXT + "stages.0.out_project",),
    "context.fuse.0": (_CONTEXT + "bottleneck.conv",),
    "context.fuse.1": (_CONTEXT + "bottleneck.bn",),
    "classifier": ("decode_head.conv_seg",),
    "aux_reduce.0": ("auxiliary_head.convs.0.conv",),
    "aux_reduce.1": ("auxiliary_head.convs.0.bn",),
    "aux_classifier": ("auxiliary_head.conv_seg",),
}
TABLES = {"authors": _AUTHORS, "mmseg": _MMSEG}


def rename(layout: str, name: str) -> list[str]:
    """Return what the layout calls a tensor of SegmentationNetwork; some have two names.

    Args:
        layout: One of LAYOUTS.
        name: A name of SegmentationNetwork's state dict.
    """
    return [
        their + name.removeprefix(own)
        for own, theirs in TABLES[layout].items()
        if name.startswith(own)
        for their in theirs
    ]
