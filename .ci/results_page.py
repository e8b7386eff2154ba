"""Write docs/results.md from the models of pipeline.settings.records.

PYTHONPATH=. python .ci/results_page.py
"""

import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

from pipeline.settings import records

PAGE = Path("docs/results.md")
RESULTS = (
    records.RunLine,
    records.CheckpointLine,
    records.FailureLine,
    records.ExternalLine,
)
FILES = {
    "`reports/results/<experiment>.jsonl`": (
        "The collect stage writes a JSON object a line, and git keeps the file. `kind` says which "
        "of the objects below a line is.",
        RESULTS,
    ),
    "`runs/<profile>/<variant>-<seed>/record.json`": (
        "The train stage writes where a run's numbers come from.",
        (records.RunRecord,),
    ),
    "`runs/<profile>/<checkpoint>/record.json`": (
        "The imported stage writes where a published checkpoint comes from.",
        (records.CheckpointRecord,),
    ),
    "`runs/<profile>/<run or checkpoint>/scores.json`": (
        "The stages evaluate and imported write the scores.",
        (records.Scores,),
    ),
    "`runs/<profile>/<variant>-<seed>/failure.json`": (
        "A run that cannot end says why. A run that succeeds removes the file.",
        (records.Failure,),
    ),
    "`reports/<profile>/networks.json`": (
        "The networks stage writes what whole networks cost.",
        (records.NetworkCosts,),
    ),
    "`reports/efficiency/<name>.json`": (
        "The efficiency stage writes what the blocks cost, a file for each machine.",
        (records.BlockCosts,),
    ),
    "`data/prepared/<profile>/manifest.json`": (
        "The prepare stage writes what it found in the dataset.",
        (records.Manifest,),
    ),
}
NAMES = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    type(None): "null",
}
START = """\
# Results: the files and their fields

Every number in the report comes from the JSON files on this page. `reports/results/embedded.jsonl`
has all that the embedded profile trained and scored. These lines rebuild the ablation table from
it, with pandas:

```python
import pandas as pd
import yaml

lines = pd.read_json("reports/results/embedded.jsonl", lines=True)
runs = lines[lines["kind"] == "run"].copy()
first = [next(iter(scores["protocols"].values())) for scores in runs["scores"]]
runs["miou"] = [100 * scores["miou"] for scores in first]
with open("params.yaml", encoding="utf-8") as file:
    rows = yaml.safe_load(file)["tables"]["ablation"]
table = runs.groupby("variant")["miou"].agg(miou="mean", sd="std", n="count").loc[rows]
print(table.round(2))
```

- `version` is the version of a file's schema. A file of another version is refused with a sentence
  that says how to write it again.
- Every key is always there. A value that does not apply is null.
- Sizes are height and width. Scores are parts of one, not percent.
- `params.yaml` explains the settings that a file repeats.

This page is generated from `pipeline/settings/records/` by `.ci/results_page.py`.
"""


def name_type(annotation: Any) -> str:
    """Return a type in words of JSON."""
    arguments, origin = get_args(annotation), get_origin(annotation)
    if origin in (types.UnionType, Union):
        return " or ".join(map(name_type, arguments))
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin is Annotated:
        return name_type(arguments[0])
    if origin is list:
        return f"list of {name_type(arguments[0])}"
    if origin is tuple:
        return f"list of {len(arguments)} {name_type(arguments[0])}"
    if origin is dict:
        return f"object of {name_type(arguments[1])} by name"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and _is_own(annotation):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return NAMES.get(annotation, "object")


def _is_own(model: type[BaseModel]) -> bool:
    return model.__module__.startswith(records.__name__)


def list_parts(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """Yield the models of the package that a model's fields hold."""
    for field in model.model_fields.values():
        yield from _find_models(field.annotation)


def _find_models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if _is_own(annotation):
            yield annotation
        return
    for argument in get_args(annotation):
        yield from _find_models(argument)


def describe_model(model: type[BaseModel], words: str) -> Iterator[str]:
    """Yield a heading, words if there are any, and the table of a model's fields."""
    yield f"### {model.__name__}"
    if words:
        yield words
    rows = ["| field | type | meaning |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        rows.append(f"| `{name}` | {name_type(field.annotation)} | {field.description} |")
    yield "\n".join(rows)


def describe(model: type[BaseModel]) -> str:
    """Return the first line of a model's docstring."""
    return (model.__doc__ or "").strip().splitlines()[0]


def build_page() -> str:
    """Return docs/results.md."""
    parts = [START.rstrip()]
    written: set[type[BaseModel]] = {m for _, models in FILES.values() for m in models}
    later: list[type[BaseModel]] = []
    for path, (words, models) in FILES.items():
        parts += [f"## {path}", words]
        for model in models:
            parts += describe_model(model, describe(model) if len(models) > 1 else "")
            later += list_parts(model)
    parts += ["## Parts of these files", "The objects that several files have in them."]
    while later:
        model = later.pop(0)
        if model not in written:
            written.add(model)
            parts += describe_model(model, describe(model))
            later += list_parts(model)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(build_page(), encoding="utf-8")
