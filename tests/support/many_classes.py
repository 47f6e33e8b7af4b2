"""Predictors, files and reports of as many classes as iNaturalist 2018 has, within a limit of memory.

    python -m tests.support.many_classes FOLDER GIGABYTES IMAGES

GIGABYTES: memory beyond what the process has once its modules are imported; files mapped into memory do not count. Prints the
numbers of classes, of test images, and of the first lines of the confusion matrix.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ltrun.data.files import Files
from ltrun.data.stores import Decodes
from ltrun.engine.predictors import Predictors
from ltrun.metrics import Shots
from ltrun.parts import Network, Prepare
from ltrun.posthoc import NCM, LabelShiftEM, LogitAdjustment
from ltrun.report.confusion import Confusion
from ltrun.report.render.csv import matrix
from ltrun.results import mapped, predictions
from ltrun.results.history import save_arrays
from ltrun.results.record import RunRecord
from ltrun.types import Batch, ClassStats, Labels, Outputs
from tests.support.cases import context

CLASSES, WIDTH, TRAINING = 8142, 16, 2 * 8142
LINES = 100  # of the confusion matrix, which is 130 MB as text


class Numbers:
    """A store whose images are their row numbers."""

    decodes: Decodes = ""

    def __init__(self, images: int):
        self.targets = Labels.hard(torch.arange(images) % CLASSES)
        self.files = Files.numbered("test", images)

    def __len__(self) -> int:
        return len(self.targets)

    def open(self, rows: Sequence[Tensor], late: bool = False) -> Iterator[Batch]:
        for some in rows:
            yield Batch(some[:, None].float(), self.targets.take(some), some)


class Unchanged(Prepare):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs


class Looked(Network):
    """Features near the weights of the row's class."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(CLASSES, WIDTH))

    def encode(self, inputs: Tensor) -> Tensor:
        return self.weight[inputs[:, 0].long() % CLASSES] + 0.1

    def decide(self, features: Tensor) -> Outputs:
        return Outputs(features=features, logits=features @ self.weight.T)


def main(folder: str, gigabytes: str, images: str) -> None:
    torch.set_num_threads(1)
    mapped.LARGE = predictions.LARGE = 2**20
    counts = ClassStats((1000 * torch.arange(1, CLASSES + 1) ** -0.9).long().clamp(min=2), tuple(map(str, range(CLASSES))))
    stores: Any = {"train_set": Numbers(TRAINING), "test_set": Numbers(int(images))}
    run = context(**stores, counts=counts, prepare=Unchanged())  # imports what composes a recipe

    status = Path("/proc/self/status").read_text().splitlines()
    used = int(next(line for line in status if line.startswith("VmData")).split()[1]) * 1024
    limit = used + int(float(gigabytes) * 1e9)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    parts = {
        "em": LabelShiftEM(iterations=3, stats=counts),
        "ncm": NCM(num_classes=CLASSES),
        "adjusted": LogitAdjustment(stats=counts),
    }
    made = Predictors(Looked(), run, parts, ())
    made.fit()
    found, scores = made.measure()
    assert not made.lost, made.lost
    file, labels = Path(folder, "predictions.npz"), run.splits.test.targets.labels.numpy()
    save_arrays(file, test_labels=labels, **{f"test_scores_{name}": tensor.numpy() for name, tensor in scores.items()})
    del scores

    blank: dict[str, Any] = {field.name: {} for field in fields(RunRecord)}
    record = RunRecord(
        **blank | {"predictors": found, "classes": {"names": list(counts.names), "counts": counts.counts.tolist()}}
    )
    read = predictions.predictions_of(record, Path(folder), "plain")
    assert isinstance(read.scores, np.memmap)
    rows: Any = None
    confusion = Confusion(rows, rows, counts.names, counts.counts.numpy(), Shots(100, 20), ((read.labels, read.predicted),))
    assert np.isfinite(confusion.grouped()).all()
    print(CLASSES, len(read.labels), len(list(islice(matrix(confusion), LINES))))


if __name__ == "__main__":
    main(*sys.argv[1:])
