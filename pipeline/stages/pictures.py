"""Stage pictures: draw the predictions and the attention of the networks.

    python -m pipeline pictures

It writes reports/pictures. Git keeps this folder, so a clone without weights shows the pictures:

- the best, the median and the worst validation image with its labels, the predictions of the
  baseline and of the full network, and where they differ;
- the attention of a point in NB, APNB and AFNB;
- a small contact sheet;
- pictures.json, which describes each picture and lists what is missing.
"""

from pipeline.engine.files import whole_folder, write_json
from pipeline.reporting.pictures.drawing import draw_pictures
from pipeline.settings import params
from pipeline.settings.paths import PICTURE_LIST, PICTURES


def main() -> None:
    with whole_folder(PICTURES) as out:
        about = draw_pictures(params.load(), out)
        write_json(out / PICTURE_LIST, about)
    for sentence in about["missing"]:
        print(f"left out: {sentence}")
    print(f"the pictures are in {PICTURES}")
