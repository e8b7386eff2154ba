"""Choose the experiment that `dvc repro` runs.

    python -m pipeline use PROFILE [--more-seeds]

It writes the profile, its data's folder, its seeds and its rows into params.yaml, and changes
nothing else there. What other profiles have measured stays in reports/.
"""

from pipeline.engine import yaml_file
from pipeline.engine.errors import InputError
from pipeline.engine.files import whole_file
from pipeline.settings import params
from pipeline.settings.paths import PARAMS_FILE
from pipeline.settings.schema import Params


def choose(settings: Params, profile: str, more_seeds: bool) -> dict[str, object]:
    """Return what params.yaml says when a profile is active.

    Args:
        settings: params.yaml; another profile may be active.
        profile: The profile's name.
        more_seeds: Whether its `more_seeds` are trained too.

    Raises:
        InputError: There is no such profile, or its data are not here.
    """
    params.require_profile(settings, profile)
    own = settings.profiles[profile]
    if own.data not in settings.data:
        raise InputError(
            f"profiles.{profile}.data must be one of {', '.join(settings.data)}, got {own.data!r}"
        )
    folder = settings.data[own.data]
    if folder is None:
        raise InputError(
            f"data.{own.data} is null; set it to the dataset's folder in {PARAMS_FILE}"
        )
    return {
        "profile": profile,
        "dataset_dir": folder,
        "seeds": own.seeds + (own.more_seeds if more_seeds else []),
        "rows": settings.list_rows(profile),
    }


def main(profile: str, more_seeds: bool = False) -> None:
    values = params.read()
    chosen = choose(params.validate(values), profile, more_seeds)
    params.check(values | chosen)
    text = yaml_file.replace_values(PARAMS_FILE.read_text(encoding="utf-8"), chosen)
    with whole_file(PARAMS_FILE) as partial:
        partial.write_text(text, encoding="utf-8")
    rows, seeds = chosen["rows"], chosen["seeds"]
    assert isinstance(rows, list)
    assert isinstance(seeds, list)
    print(
        f"{PARAMS_FILE}: profile {profile}, data in {chosen['dataset_dir']}, {len(rows)} rows with "
        f"{len(seeds)} seeds"
    )
