"""Stage scene: draw the embedded dataset, in Cityscapes' own layout.

python -m pipeline scene
"""

from pipeline.data.formats import scene
from pipeline.engine.files import whole_folder
from pipeline.settings import params, paths


def main() -> None:
    settings = params.load().scene
    with whole_folder(paths.EMBEDDED) as folder:
        scene.write(
            folder,
            counts={"train": settings.train, "val": settings.val},
            seed=settings.seed,
            height=settings.height,
            width=settings.width,
        )
