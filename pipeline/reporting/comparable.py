"""What must be said before a number here is compared with the paper's."""

from pipeline.settings.schema import Params

DRAWN_NOTE = (
    "These runs train a small network on drawn scenes, so **their numbers are not comparable with "
    "the paper's**. The scenes and the recipe were tuned to make the mechanism visible. The "
    "results show that the code does what the paper says. They are no independent evidence for "
    "the paper's claims."
)
OTHER_NOTE = (
    "These runs are not on Cityscapes with a ResNet-101. **Their numbers are not comparable with "
    "the paper's**; only the order of the rows is."
)


DRAWN_EVIDENCE = (
    "A small network on drawn scenes, which were made so that context decides: evidence that the "
    "code does what the paper says, and none for the paper's claims on photographs."
)
OTHER_EVIDENCE = (
    "Photographs, but another dataset or backbone than the paper's: evidence for the order of the "
    "rows, not for the paper's numbers."
)
PAPER_EVIDENCE = "The paper's dataset and backbone: evidence for its order and its numbers."


def explain_evidence(settings: Params) -> str:
    """Return what the active profile's results are evidence for, in one sentence."""
    known = {DRAWN_NOTE: DRAWN_EVIDENCE, OTHER_NOTE: OTHER_EVIDENCE}
    return known.get(explain_comparability(settings), PAPER_EVIDENCE)


def explain_comparability(settings: Params) -> str:
    """Return the warning for these settings; empty if the numbers are comparable."""
    if settings.embedded:
        return DRAWN_NOTE
    backbone = settings.active.network.backbone
    if settings.active.dataset != "cityscapes" or backbone != "resnet101":
        return OTHER_NOTE
    return ""
