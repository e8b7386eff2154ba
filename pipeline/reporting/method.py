"""How the numbers come about, from the settings."""

from pipeline.reporting.sections import Section
from pipeline.settings.schema import Params


def build_section(settings: Params) -> Section:
    """Return what all rows have in common."""
    profile, train = settings.active, settings.active.train
    network, optimizer = profile.network, profile.train.optimizer
    pixels = "x".join(map(str, train.augment.crop))
    seeds = ", ".join(map(str, settings.seeds))
    protocols = ", ".join(p.replace("_", "-") for p in profile.evaluate.protocols)
    weights = f"{network.weights or 'random'} weights"
    lines = [
        f"- **Data**: {settings.data_title}; crops of {pixels} pixels.",
        f"- **Network**: backbone {network.backbone} from {weights}, output stride "
        f"{network.output_stride}; {network.channels} channels before the classifier, "
        f"{network.key_channels} of query and key, {network.value_channels} of the value.",
        f"- **Training**: {train.iterations} iterations of {train.batch_size} images, "
        f"{optimizer.name} with learning rate {optimizer.lr:g}, polynomial decay of power "
        f"{train.power:g}, {train.warmup} iterations of warm-up; seeds {seeds}, the same for "
        "every row. The weights after the last iteration are scored; none are picked.",
        f"- **Score**: one integer confusion matrix over the whole validation split at the labels' "
        f"own size. Protocols: {protocols}; the tables show the first.",
        "- **All other settings** are in `params.yaml`. Data order, augmentation, dropout and "
        "random sampling are functions of (seed, iteration, slot), so a run can be repeated.",
    ]
    return Section("method", "Method", intro="\n".join(lines))
