"""Draw docs/architecture.svg: the layers of the code, and which imports which.

PYTHONPATH=. python .ci/architecture.py
"""

from pathlib import Path

import matplotlib.pyplot as plt

from pipeline.engine.source import imports
from pipeline.reporting.figures import style

# From top to bottom: each imports only what stands below it.
LAYERS = {
    "commands": "what people call: repro, predict, verify, ...",
    "stages": "what DVC calls: prepare, train, evaluate, ...",
    "reporting": "tables, claims, figures, pages",
    "measuring": "time and memory",
    "training": "the loop, its state, the recipe",
    "tracking": "MLflow",
    "scoring": "protocols, confusion matrices",
    "data": "datasets, prepared files, samples",
    "settings": "params.yaml's schema, records, paths",
    "engine": "files, processes, DVC, weights",
    "contexts": "blocks beyond the paper's",
    "ann": "the paper's blocks and network",
}
BESIDE = ("contexts", "ann")  # beside the folder pipeline/


def find_layer(module: str) -> str:
    """Return the layer of a dotted name; empty for the package itself."""
    parts = module.split(".")
    return parts[0] if parts[0] in BESIDE else "".join(parts[1:2])


def count_imports(root: Path) -> dict[tuple[str, str], int]:
    """Count the modules of each layer that import another layer."""
    counts: dict[tuple[str, str], int] = {}
    for layer in LAYERS:
        folder = root / (layer if layer in BESIDE else f"pipeline/{layer}")
        for file in sorted(folder.rglob("*.py")):
            others = {find_layer(name) for name in imports(root, file.relative_to(root))}
            for other in others - {layer, ""}:
                counts[layer, other] = counts.get((layer, other), 0) + 1
    return counts


def main() -> None:
    counts, names = count_imports(Path()), list(LAYERS)
    figure, axes = plt.subplots(figsize=(7.6, 4.2), layout="constrained")
    for (layer, other), count in counts.items():
        x, y = names.index(other), names.index(layer)
        axes.scatter(x, y, s=40 + 14 * count, color=style.BLUE, alpha=0.85, zorder=2)
        axes.annotate(str(count), (x, y), ha="center", va="center", fontsize=7, color="white")
    axes.set_xticks(range(len(names)), names, rotation=40, ha="left")
    axes.set_yticks(range(len(names)), [f"{name}: {text}" for name, text in LAYERS.items()])
    axes.xaxis.tick_top()
    axes.set(xlim=(-0.6, len(names) - 0.4), ylim=(len(names) - 0.4, -0.6))
    axes.spines[:].set_visible(False)
    style.save_svg(figure, Path("docs/architecture.svg"), "the imports of this code")
    assert all(names.index(a) < names.index(b) for a, b in counts), "a layer imports from above"


if __name__ == "__main__":
    main()
