"""The files that stages write and read: a model for each, and nothing else that reads them.

docs/results.md is generated from these models.

    data     manifest.json of prepared data
    runs     record.json, scores.json and failure.json of a run
    results  a line of reports/results.jsonl
    costs    reports/networks.json and reports/efficiency/*.json
    features manifest.json of a frozen backbone's maps
    base     how a file is read and written, and what most files share
"""

from pipeline.settings.records.base import (
    Code,
    DataVersion,
    Environment,
    Record,
    parse,
    read,
    write,
)
from pipeline.settings.records.costs import (
    BlockCost,
    BlockCosts,
    BlockRow,
    Measurement,
    NetworkCost,
    NetworkCosts,
    OperationCost,
    OperationTimes,
    Status,
)
from pipeline.settings.records.data import Manifest, Split, Splits
from pipeline.settings.records.features import FeatureManifest
from pipeline.settings.records.results import (
    CheckpointLine,
    ExternalLine,
    FailureLine,
    Line,
    RunLine,
    read_lines,
    write_lines,
)
from pipeline.settings.records.runs import (
    CheckpointRecord,
    Config,
    Failure,
    ProtocolScores,
    RunEnvironment,
    RunRecord,
    RunStart,
    Scores,
    Speed,
    Stage,
    TrainingCode,
)

__all__ = [
    "BlockCost",
    "BlockCosts",
    "BlockRow",
    "CheckpointLine",
    "CheckpointRecord",
    "Code",
    "Config",
    "DataVersion",
    "Environment",
    "ExternalLine",
    "Failure",
    "FailureLine",
    "FeatureManifest",
    "Line",
    "Manifest",
    "Measurement",
    "NetworkCost",
    "NetworkCosts",
    "OperationCost",
    "OperationTimes",
    "ProtocolScores",
    "Record",
    "RunEnvironment",
    "RunLine",
    "RunRecord",
    "RunStart",
    "Scores",
    "Speed",
    "Split",
    "Splits",
    "Stage",
    "Status",
    "TrainingCode",
    "parse",
    "read",
    "read_lines",
    "write",
    "write_lines",
]
