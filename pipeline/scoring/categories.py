"""Group classes by Cityscapes' categories, as its official evaluation does."""

from cityscapesscripts.helpers.labels import category2labels

from pipeline.data.formats import DATASETS


def categories(classes: list[str]) -> dict[str, list[int]] | None:
    """Return the ids of Cityscapes' classes by category, without void; None for other classes."""
    if tuple(classes) != DATASETS["cityscapes"].classes:
        return None
    ids = {
        category: [classes.index(label.name) for label in labels if not label.ignoreInEval]
        for category, labels in category2labels.items()  # in the order of the official mean
    }
    return {category: group for category, group in ids.items() if group}
