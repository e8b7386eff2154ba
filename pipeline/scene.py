"""Stage scene: draw the embedded dataset, in Cityscapes' own layout.

python -m pipeline.scene
"""

from pipeline.common import cli, params
from pipeline.common.files import whole_folder
from pipeline.datasets import scene


def main() -> None:
    settings = params.load().scene
    with whole_folder(params.EMBEDDED) as folder:
        scene.write(
            folder,
            counts={"train": settings.train, "val": settings.val},
            seed=settings.seed,
            height=settings.height,
            width=settings.width,
        )


if __name__ == "__main__":
    cli.run(main)
