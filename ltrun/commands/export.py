"""`ltrun export`: the model of a finished run as ONNX, torch.export or safetensors, tested before the file appears."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ltrun.commands.predict import opened, title
from ltrun.errors import ConfigError, LtrunError, TrainingError
from ltrun.report.render.common import plain
from ltrun.results.atomic import replacing

if TYPE_CHECKING:
    from torch import Tensor

    from ltrun.engine.export import Scorer
    from ltrun.engine.model import Model

FORMATS = (".onnx", ".pt2", ".safetensors")
TESTED = 256  # the most images of the self-test
PIECES = (1, 7)  # sizes of its first batches, because a graph takes any number of images
CLOSE = 1e-4  # the largest difference of two probabilities


def main(argv: Sequence[str]) -> int:
    """Writes the model of a run to a file. Raises LtrunError, and then writes nothing."""
    if not argv or any(word.startswith(("dataset=", "to=")) for word in argv):
        raise ConfigError(
            "ltrun export writes the model of a run: ltrun export RUN --to model.onnx. For images, "
            "did you mean 'ltrun data export'?"
        )
    asked = _parser().parse_args(argv)
    file: Path = asked.to
    if file.suffix not in FORMATS:
        raise ConfigError(f"--to {file}: the suffix says the format; name a file that ends in {', '.join(FORMATS)}")
    if file.is_dir():
        raise ConfigError(f"--to {file}: this is a folder; name a file")
    if asked.root is not None and not asked.root.is_dir():
        raise ConfigError(f"--root {asked.root}: this is not a folder; name the folder of the images, or leave it out")
    from ltrun.engine.export import RUNTIME, facts_of, refuse_missing, write

    refuse_missing(file.suffix)
    model = opened(asked.run, asked.predictor, "cpu", RUNTIME)
    for note in model.notes:
        print(f"note: {plain(note)}", file=sys.stderr)
    images, expected, against = _expected(model, asked.root)
    with replacing(file) as temporary:
        apart = _apart(write(model, temporary, facts_of(model, asked.licence)), images, expected)
        if not apart <= CLOSE:
            raise TrainingError(
                f"the exported model differs from {against} by {apart:.1g} in a probability, more than {CLOSE:g}: nothing is "
                "written"
            )
    print(f"{title(model)}: {file}, equal to {against} within {apart:.1g} on {len(images):,} {model.inputs}")
    return 0


def _expected(model: Model, root: Path | None) -> tuple[Tensor, Tensor, str]:
    """Returns stored inputs, the probabilities (N, C) that an export must have for them, and whose they are.

    The inputs are test images of the run, and the probabilities its predictions, where its data are at hand.
    """
    import torch

    from ltrun.config.plugins import from_environment
    from ltrun.engine.at_hand import TestImages
    from ltrun.engine.export import random_inputs
    from ltrun.results.predictions import predictions_of

    record, probabilities = model.record, model.context.task.probabilities
    random = random_inputs(model, 32)
    assert record.path is not None
    try:
        there = TestImages.of(record, root, from_environment())
        kept = predictions_of(record, record.path.parent, model.predictor)
        rows = np.unique(np.linspace(0, len(kept.labels) - 1, TESTED).astype(np.int64))
        images = there.inputs(rows)
    except LtrunError as error:
        print(f"note: tested on random {model.inputs}, because the run's are not at hand: {plain(str(error))}", file=sys.stderr)
        return random, probabilities(model.scores(random)), "the network in ltrun"
    precision, device = record.config.get("runtime", {}).get("precision", "fp32"), record.provenance.get("device", "cpu")
    if precision != "fp32":
        print(
            f"note: tested against the network in fp32, because the run predicted in {precision} on {device}", file=sys.stderr
        )
        return images, probabilities(model.scores(images)), "the network in ltrun"
    stored = probabilities(torch.from_numpy(kept.scores[rows].astype(np.float64))).float()
    return images, stored, "the run's predictions"


def _apart(scorer: Scorer, images: Tensor, expected: Tensor) -> float:
    """Returns the largest difference of a probability, over batches of several sizes."""
    import torch

    sizes = [*PIECES, max(0, len(images) - sum(PIECES))] if len(images) > sum(PIECES) else [len(images)]
    with torch.no_grad():
        found = torch.cat([scorer(some) for some in images.split(sizes)])
    return float((found - expected).abs().max())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ltrun export",
        description="Export the model of a finished run: uint8 images in, or features of videos, probabilities and logits out; "
        "class names, record and licence inside. The file appears after a self-test.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run, or its result.json")
    parser.add_argument(
        "--to", type=Path, required=True, metavar="FILE", help="a file that ends in .onnx, .pt2 or .safetensors"
    )
    parser.add_argument("--predictor", metavar="NAME", help="default: the predictor that stands for the method")
    parser.add_argument("--licence", "--license", metavar="TEXT", help="the licence of the model, such as CC-BY-4.0")
    parser.add_argument("--root", type=Path, metavar="FOLDER", help="where the images are now, for the self-test")
    return parser
