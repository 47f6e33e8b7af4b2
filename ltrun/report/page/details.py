"""Details of a row of the page: its runs, configuration, curves, and what their predictions and weights say."""

from __future__ import annotations

import operator
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Any

import numpy as np
import yaml

from ltrun.errors import LtrunError
from ltrun.metrics import TASKS, Shots, is_number
from ltrun.report.by_rank import Ranks, curve_of
from ltrun.report.page.evidence import Evidence, evidence_of, norms_of
from ltrun.report.render.common import plain
from ltrun.report.run_page import command_of
from ltrun.report.table import Row, Scored
from ltrun.results.epochs import epochs_of
from ltrun.results.record import RunRecord

POINTS = 200  # most points of a line by classes
EPOCHS_SHOWN = 100  # most points of a line by epochs
PRIVATE = ("outputs", "force")  # keys that say nothing to a reader of the page


class Lines:
    """Lines of YAML, each kept once: configurations of a sweep share most of them."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self._numbers: dict[str, int] = {}

    def of(self, config: Mapping[str, Any]) -> list[int]:
        """Returns the numbers of the lines of a configuration."""
        shown = {key: value for key, value in config.items() if key not in PRIVATE}
        text = yaml.dump(shown, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
        return [self._number(plain(line)) for line in text.splitlines()]

    def _number(self, line: str) -> int:
        if line not in self._numbers:
            self._numbers[line] = len(self.found)
            self.found.append(line)
        return self._numbers[line]


class _Dumper(yaml.SafeDumper):
    """Writes lists on one line."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True))


class Images:
    """The labels of the test images of a table. Hits of a run count only if it has the same labels."""

    def __init__(self) -> None:
        self.labels: np.ndarray | None = None

    def takes(self, labels: np.ndarray) -> bool:
        """Returns whether a run has these labels. The first run decides."""
        if self.labels is None:
            self.labels = labels
        return np.array_equal(self.labels, labels)

    def shown(self) -> dict[str, Any] | None:
        """Returns the number of images, and one little-endian uint16 for the label of each; None if no run kept them."""
        if self.labels is None:
            return None
        return {"count": len(self.labels), "labels": _text(self.labels.astype("<u2").tobytes())}


def details(row: Row, images: Images, lines: Lines) -> dict[str, Any]:
    """Returns what the page shows of a row when it is opened.

    hits: seed -> one bit for each test image, the first in the highest place, whether the run takes it for its label; for one
    label per image. norms: (P,) by rank. reliability: images, mean probability and share of right ones of each bin.
    """
    record = row.runs[0][0]
    read, notes = _evidence(row)
    hits = {}
    for (run, _), found in read:
        if found.hits is not None and images.takes(found.labels):
            hits[str(run.seed)] = _text(np.packbits(found.hits).tobytes())
    alike = len({tuple(run.classes["counts"]) for run, _ in row.runs}) == 1
    ranks = Ranks.of(record.classes["counts"], POINTS)
    norms, more = _norms(row, ranks) if alike else (None, [])
    return {
        "runs": [_run(run) for run, _ in row.runs],
        "yaml": lines.of(record.config),
        "classes": _classes(row, ranks) if alike else {},
        "at": ranks.at.tolist(),
        "window": ranks.window,
        "confusion": _mean([found.grouped for _, found in read]),
        "reliability": _reliability([found for _, found in read]),
        "training": [_training(run) for run, _ in row.runs],
        "norms": norms,
        "hits": hits,
        "notes": [plain(note) for note in dict.fromkeys([*notes, *more])],
    }


def _address(record: RunRecord) -> str:
    return f"{record.dataset}/{record.method}/{record.fingerprint}/seed{record.seed}"


def _run(record: RunRecord) -> dict[str, Any]:
    origin = record.provenance
    words = [word for word in record.command if not word.startswith("outputs=")]  # a folder says nothing to a reader
    command, _, remark = command_of(replace(record, command=words)).partition("  (")
    return {
        "seed": record.seed,
        "address": plain(_address(record)),
        "command": plain(command),
        "remark": plain(remark.rstrip(")")),
        "date": plain(str(origin.get("date", ""))),
        "commit": plain(str(origin.get("commit", ""))[:10] + (" and changes" if origin.get("dirty") else "")),
        "device": plain(str(origin.get("device", ""))),
        "seconds": round(sum(stage["seconds"] for stage in record.stages)),
    }


def _evidence(row: Row) -> tuple[list[tuple[Scored, Evidence]], list[str]]:
    """Returns what the predictions of each run say, and sentences on runs without them."""
    read: list[tuple[Scored, Evidence]] = []
    notes = []
    for record, predictor in row.runs:
        if "test" not in record.predictors[predictor]["splits"]:
            continue
        try:
            read.append(((record, predictor), evidence_of(record, predictor, Shots.of(record.config))))
        except LtrunError as error:
            notes.append(_without_folders(error, record))
    return read, notes


def _without_folders(error: LtrunError, record: RunRecord) -> str:
    """Returns the sentence with the address of a run for its folder, which says nothing to a reader of the page."""
    return str(error).replace(str(record.path and record.path.parent), _address(record))


def _classes(row: Row, ranks: Ranks) -> dict[str, Any]:
    """Returns split -> mean and standard deviation over runs at the points, in tenths of a point; null for no images."""
    metric = TASKS[row.runs[0][0].task][0]
    found = {}
    for split in dict.fromkeys(split for record, name in row.runs for split in record.predictors[name]["splits"]):
        runs = tuple((run, name) for run, name in row.runs if split in run.predictors[name]["splits"])
        mean, std = curve_of(runs, split, metric, ranks)
        found[split] = {"mean": _tenths(mean), "std": None if std is None else _tenths(std)}
    return found


def _tenths(values: np.ndarray) -> list[int | None]:
    return [round(10 * value) if value == value else None for value in values.tolist()]


def _norms(row: Row, ranks: Ranks) -> tuple[list[float] | None, list[str]]:
    """Returns the mean over runs of the classifier's norms, smoothed by rank; None without a kept model."""
    found, notes = [], []
    for run in {id(run): run for run, _ in row.runs}.values():
        try:
            norms = norms_of(run)
        except LtrunError as error:
            notes.append(_without_folders(error, run))
        else:
            found += [norms] if norms is not None else []
    if not found:
        return None, notes
    return [float(f"{value:.4g}") for value in ranks.smoothed(np.array(found)).mean(0)], notes


def _mean(each: list[np.ndarray]) -> list[list[float | None]] | None:
    """Returns (3, 4) percentages: right, and wrong by a class of each group; null for a group without test images."""
    if not each:
        return None
    mean = np.mean(each, axis=0)
    return [[round(100 * value, 1) if value == value else None for value in row] for row in mean.tolist()]


def _reliability(read: list[Evidence]) -> list[list[float]] | None:
    if not read:
        return None
    bins = reduce(operator.add, (found.bins for found in read))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [np.nan_to_num(sums / bins.images).tolist() for sums in (bins.confidence, bins.right)]
    return [[int(n), round(p, 4), round(a, 4)] for n, p, a in zip(bins.images, *shares, strict=True)]


def _training(record: RunRecord) -> dict[str, Any] | None:
    """Returns the loss of each epoch and the evaluations of metrics.jsonl, epochs of all stages counted on."""
    if record.path is None:
        return None
    rows = [(row["stage"], row.get("loss"), row.get("evaluation")) for row in epochs_of(record.path.parent)]
    every = -(-len(rows) // EPOCHS_SHOWN) or 1
    metric = TASKS[record.task][0]
    losses = [[i + 1, float(f"{rows[i][1]:.4g}")] for i in range(0, len(rows), every) if is_number(rows[i][1])]
    evaluated: dict[str, list[list[float]]] = {}
    for i in range(len(rows) - 1, -1, -every):  # the last for sure
        evaluation = rows[i][2]
        for split, found in evaluation.items() if isinstance(evaluation, Mapping) else ():
            value = found.get(metric.name) if isinstance(found, Mapping) else None
            if is_number(value):
                evaluated.setdefault(str(split), []).insert(0, [i + 1, round(metric.shown(value, metric.name), 1)])
    starts = [[i + 1, plain(stage)] for i, (stage, _, _) in enumerate(rows) if i == 0 or rows[i - 1][0] != stage]
    return {"loss": losses, "evaluated": evaluated, "stages": starts, "epochs": len(rows)} if rows else None


def _text(data: bytes) -> str:
    return b64encode(data).decode()
