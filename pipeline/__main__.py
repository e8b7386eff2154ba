"""The command line: `python -m pipeline COMMAND`, or `ann-bench COMMAND`.

A command's module is imported only when the command runs, because PyTorch takes seconds.
"""

import os
import sys
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, NoReturn

NEEDED = "dvc", "lightning_fabric", "psutil", "pydantic", "torch", "typer"


def use_environment() -> None:
    """Continue in the environment of `make setup` where this Python lacks the packages.

    DVC runs `python`, which is another one if the environment is not activated.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if not missing:
        return
    folder = Path(__file__).resolve().parents[1] / ".venv/bin"
    program = str(folder / "python")
    if os.access(program, os.X_OK) and os.environ.get("ANN_PYTHON") != program:
        os.environ["ANN_PYTHON"] = program  # only once, because that one may lack packages too
        os.execv(program, [program, "-m", "pipeline", *sys.argv[1:]])
    sys.exit(
        f"error: {sys.executable} lacks the package {missing[0]}; run `make setup`, and then "
        f"`. .venv/bin/activate`"
    )


use_environment()

import typer  # noqa: E402
from typer.exceptions import TyperException  # noqa: E402

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Reproduce the tables of Asymmetric Non-local Neural Networks (arXiv 1908.07678).",
)
PEOPLE, STAGES = "Commands", "Stages, which `dvc repro` runs"
command = partial(app.command, rich_help_panel=PEOPLE)
stage = partial(app.command, rich_help_panel=STAGES)

Variant = Annotated[str, typer.Argument(help="A row of `variants` in params.yaml.")]
Seed = Annotated[int, typer.Argument(help="One of `seeds` in params.yaml.")]


def run(module: str, *words: Any, **options: Any) -> None:
    """Import a command's module and run it; an expected error ends in one sentence."""
    from pipeline.engine import errors

    # Fabric reads these when it is imported, and needs numbers.
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK"):
        if not os.environ.get(name, "0").isdecimal():
            del os.environ[name]
    errors.run(lambda: import_module(f"pipeline.{module}").main(*words, **options))


@command()
def repro(
    jobs: Annotated[
        int | None, typer.Option(help="Runs side by side.", show_default="by cores or GPUs")
    ] = None,
) -> None:
    """Run everything that is not up to date, runs side by side."""
    run("commands.repro", jobs)


@command()
def predict(
    checkpoint: Annotated[
        Path, typer.Argument(help="weights/PROFILE/NAME.safetensors, trained here or imported.")
    ],
    inputs: Annotated[list[Path], typer.Argument(help="Images, or folders of images.")],
    out: Annotated[Path, typer.Option(help="The folder to write to. It is made if need be.")],
    protocol: Annotated[
        str | None,
        typer.Option(
            help="One of `evaluate.protocols`. whole takes the image at once and is the fastest. "
            "sliding goes window by window, for large images and little memory. multi_scale takes "
            "several sizes, and is the best and the slowest.",
            show_default="the profile's first",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(help="A profile of params.yaml.", show_default="the checkpoint's folder"),
    ] = None,
    attention: Annotated[
        bool, typer.Option("--attention", help="Also draw what a point attends to in each block.")
    ] = False,
    point: Annotated[
        tuple[float, float],
        typer.Option(
            metavar="DOWN RIGHT",
            help="The point of --attention, in parts of the height and of the width, from 0 to 1.",
        ),
    ] = (0.5, 0.5),
) -> None:
    """Label the pixels of images with a trained network.

    Writes labels/NAME.png with class ids, overlays/NAME.png to look at, and classes.json.

    Example: python -m pipeline predict weights/embedded/ann-0.safetensors photo.jpg --out predicted
    """
    run(
        "commands.predict",
        checkpoint,
        inputs,
        out,
        protocol=protocol,
        profile=profile,
        attention=attention,
        point=point,
    )


@command()
def export(
    layout: Annotated[str, typer.Argument(help="authors (the paper's code) or mmseg.")],
    weights: Annotated[Path, typer.Argument(help="weights/PROFILE/NAME.safetensors.")],
    out: Annotated[Path, typer.Argument(help="The .pth file to write.")],
) -> None:
    """Write trained weights as a file that the authors' code or mmsegmentation loads."""
    run("commands.export", layout, weights, out)


@command()
def submit(
    name: Annotated[
        str, typer.Argument(metavar="RUN", help="VARIANT-SEED, or one of `checkpoints`.")
    ],
    split: Annotated[str, typer.Argument(help="val or test.")],
    out: Annotated[Path, typer.Argument(help="The .zip file to write.")],
    protocol: Annotated[
        str | None,
        typer.Option(help="One of `evaluate.protocols`.", show_default="the profile's first"),
    ] = None,
) -> None:
    """Write predictions as the server of Cityscapes or ADE20K takes them."""
    run("commands.submit", name, split, out, protocol)


@command()
def verify(
    variant: Annotated[str, typer.Argument(help="A row of the committed tables.")] = "ann",
    seed: Annotated[
        int | None, typer.Argument(help="A committed seed.", show_default="the first")
    ] = None,
) -> None:
    """Retrain one committed run here and compare weights and losses with the committed ones."""
    run("commands.verify", variant, seed)


@command()
def ui(
    port: Annotated[int, typer.Argument(help="The port of the local server.")] = 5000,
) -> None:
    """Bring MLflow up to date and serve its pages."""
    run("commands.ui", port)


@command()
def use(
    profile: Annotated[str, typer.Argument(help="One of `profiles` in params.yaml.")],
    more_seeds: Annotated[
        bool, typer.Option("--more-seeds", help="Train the profile's `more_seeds` too.")
    ] = False,
) -> None:
    """Choose the experiment that runs; what others measured stays."""
    run("commands.use", profile, more_seeds)


@command()
def compare(
    before: Annotated[str, typer.Argument(help="A file of results, a revision, or REV:FILE.")],
    after: Annotated[
        str | None, typer.Argument(help="The same.", show_default="the working tree's results")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="The experiment.", show_default="the active profile")
    ] = None,
) -> None:
    """Say which rows and verdicts differ between two sets of results."""
    run("commands.compare", before, after, experiment)


@command()
def merge(
    name: Annotated[str, typer.Argument(help="The experiment to make.")],
    files: Annotated[list[Path], typer.Argument(help="Files of results.")],
) -> None:
    """Make one experiment of results of several machines."""
    run("commands.merge", name, files)


@command()
def fetch_checkpoint(
    name: Annotated[str, typer.Argument(help="A checkpoint of reports/published.yaml.")],
) -> None:
    """Download a published checkpoint and list it in params.yaml."""
    run("commands.fetch_checkpoint", name)


@command()
def score(
    folder: Annotated[Path, typer.Argument(help="A PNG for each validation image.")],
    name: Annotated[str, typer.Argument(help="The name of its row.")],
    source: Annotated[str, typer.Option(help="Where it is from, in words.")],
) -> None:
    """Score label files that others predicted."""
    run("commands.score", folder, name, source)


@command()
def fusion(
    stem: Annotated[Path, typer.Argument(help="The path of the two files, without a suffix.")],
) -> None:
    """Measure what the fusion of each row adds to its scores: STEM.csv and STEM.svg."""
    run("commands.fusion", stem)


@command()
def mend() -> None:
    """Repair what DVC left half-written when it was killed."""
    run("commands.mend")


@stage()
def check() -> None:
    """Refuse a wrong params.yaml before any work."""
    run("stages.check")


@stage()
def plan() -> None:
    """Predict what the experiment costs."""
    run("stages.plan")


@stage()
def scene() -> None:
    """Draw the embedded dataset, in Cityscapes' layout."""
    run("stages.scene")


@stage()
def prepare() -> None:
    """Check every file of the dataset, and decode it if the profile says so."""
    run("stages.prepare")


@stage()
def features() -> None:
    """Compute the maps of a frozen backbone once, if the profile says so."""
    run("stages.features")


@stage()
def contact_sheet() -> None:
    """Draw augmented training samples with their labels."""
    run("stages.contact_sheet")


@stage()
def train(variant: Variant, seed: Seed) -> None:
    """Train one variant with one seed."""
    run("stages.train", variant, seed)


@stage()
def evaluate(variant: Variant, seed: Seed) -> None:
    """Score one trained network on the validation split."""
    run("stages.evaluate", variant, seed)


@stage()
def imported(
    name: Annotated[str, typer.Argument(help="One of `checkpoints` in params.yaml.")],
) -> None:
    """Convert and score a checkpoint that others trained."""
    run("stages.imported", name)


@stage()
def collect() -> None:
    """Gather the results in one small file that git keeps."""
    run("stages.collect")


@stage()
def efficiency(
    name: Annotated[str, typer.Argument(help="The name of this machine's file.")] = "stage",
) -> None:
    """Measure what the blocks cost on this machine."""
    run("stages.efficiency", name)


@stage()
def networks() -> None:
    """Measure what the networks cost on this machine."""
    run("stages.networks")


@stage()
def figures() -> None:
    """Draw what the tables say."""
    run("stages.figures")


@stage()
def pictures() -> None:
    """Draw what the networks predict and attend to."""
    run("stages.pictures")


@stage()
def report() -> None:
    """Make the page and the tables."""
    run("stages.report")


@stage()
def index() -> None:
    """Make the page of all experiments."""
    run("stages.index")


@stage()
def track() -> None:
    """Bring MLflow up to date."""
    run("stages.track")


for registered in app.registered_commands:
    name = registered.callback.__name__  # type: ignore[union-attr]
    # A stage is called as in dvc.yaml.
    is_stage = registered.rich_help_panel == STAGES
    registered.name = name if is_stage else name.replace("_", "-")


def refuse(error: Any) -> NoReturn:
    """End with one sentence that names what is allowed."""
    context: Any = getattr(error, "ctx", None)
    commands = getattr(getattr(context, "command", None), "commands", None)
    if commands is not None:
        what = "option" if sys.argv[1].startswith("-") else "command"
        allowed = ", ".join(commands if what == "command" else ["--help"])
        sentence = f"{what} must be one of {allowed}, got {sys.argv[1]!r}"
    elif hasattr(error, "possibilities"):  # an option that the command does not have
        options = [o for p in context.command.params for o in p.opts if o.startswith("--")]
        allowed = ", ".join([*options, "--help"])
        sentence = f"{context.info_name} takes {allowed}, got {error.option_name}"
    else:
        see = context.command_path if context else f"python -m pipeline {sys.argv[1]}"
        sentence = f"{error.format_message().rstrip('.')}; see `{see} --help`"
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


def main() -> None:
    installed = Path(sys.argv[0]).stem == "ann-bench"
    program = "ann-bench" if installed else "python -m pipeline"
    try:
        sys.exit(app(prog_name=program, standalone_mode=False))
    except TyperException as error:
        if len(sys.argv) == 1:
            print(error.format_message())
            sys.exit(2)
        refuse(error)


if __name__ == "__main__":
    main()
