"""What must be said before a number here is compared with the paper's."""

from pipeline.settings.schema import Params

DRAWN_NOTE = (
    "These runs train a small network on drawn scenes, so **their numbers are not comparable with "
    "the paper's**. The scenes and the recipe were tuned to make the mechanism visible. The "
    "results show that the blocks of this code gather context. They are no independent evidence "
    "for the paper's claims."
)
FROZEN_NOTE = (
    "These runs train only the blocks and heads, on frozen ImageNet features of photographs. "
    "**Their numbers are not comparable with the paper's**; only the order of the rows is."
)
OTHER_NOTE = (
    "These runs are not on Cityscapes with a ResNet-101. **Their numbers are not comparable with "
    "the paper's**; only the order of the rows is."
)


DRAWN_EVIDENCE = (
    "A small network on drawn scenes, which were made so that context decides. It shows that the "
    "blocks of this code gather it. It is no evidence for the paper's claims on photographs."
)
FROZEN_EVIDENCE = (
    "Photographs and frozen ImageNet features, on which only blocks and heads train. It is "
    "evidence for what the blocks add to given features, not for the paper's numbers."
)
OTHER_EVIDENCE = (
    "Photographs, with another dataset or backbone than the paper's. It is evidence for the order "
    "of the rows, not for the paper's numbers."
)
PAPER_EVIDENCE = (
    "The paper's dataset and backbone. It is evidence for the paper's order and numbers."
)


def explain_evidence(settings: Params) -> str:
    """Return what the active profile's results are evidence for, in a few words."""
    known = {DRAWN_NOTE: DRAWN_EVIDENCE, FROZEN_NOTE: FROZEN_EVIDENCE, OTHER_NOTE: OTHER_EVIDENCE}
    return known.get(explain_comparability(settings), PAPER_EVIDENCE)


def explain_comparability(settings: Params) -> str:
    """Return the warning for these settings; empty if the numbers are comparable."""
    if settings.embedded:
        return DRAWN_NOTE
    if settings.active.network.freeze:
        return FROZEN_NOTE
    backbone = settings.active.network.backbone
    if settings.active.dataset != "cityscapes" or backbone != "resnet101":
        return OTHER_NOTE
    return ""
