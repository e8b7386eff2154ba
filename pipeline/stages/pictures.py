"""Stage pictures: draw the predictions and the attention of the networks.

    python -m pipeline pictures

It writes reports/PROFILE/pictures. Git keeps this folder, so a clone without weights shows them:

- the best, the median and the worst validation image with its labels, the predictions of the
  baseline and of the full network, and where they differ;
- the attention of a point in NB, APNB and AFNB;
- a small contact sheet;
- pictures.json, which describes each picture and lists what is missing.
"""

from pipeline.engine.files import whole_folder, write_json
from pipeline.reporting.pictures.drawing import draw_pictures
from pipeline.settings import params
from pipeline.settings.paths import PICTURE_LIST, ReportPaths


def main() -> None:
    settings = params.load()
    folder = ReportPaths(settings.profile).pictures
    with whole_folder(folder) as out:
        about = draw_pictures(settings, out)
        write_json(out / PICTURE_LIST, about)
    for sentence in about["missing"]:
        print(f"left out: {sentence}")
    print(f"the pictures are in {folder}")
