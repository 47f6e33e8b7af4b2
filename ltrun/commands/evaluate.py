"""`ltrun evaluate`: finished runs on further data. `--open`: on images of classes that they were not trained on."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ltrun.commands.predict import inputs_of, noting, opened, title, workers
from ltrun.commands.report import problem_lines
from ltrun.errors import ConfigError, DataError, LtrunError
from ltrun.metrics import MULTI_LABEL, OPEN_SET
from ltrun.report.collect import DEFAULT, Problem, collect, places
from ltrun.report.group import tables
from ltrun.report.render.common import complain
from ltrun.report.render.predicted import Guess
from ltrun.report.render.terminal import terminal
from ltrun.results.open_images import Guesses, OpenImages
from ltrun.results.record import RunRecord

if TYPE_CHECKING:
    from torch import Tensor

    from ltrun.engine.model import Model
    from ltrun.parts import PostHoc


def main(argv: Sequence[str]) -> int:
    """Evaluates runs, stores what they say beside their results, and prints the table.

    Returns 1 if a run was refused or an image could not be read. Raises LtrunError.
    """
    asked = _parser().parse_args(argv)
    if not asked.open:
        raise ConfigError("say what to evaluate the runs on: --open IMAGES, of classes that they were not trained on")
    paths = places(asked.paths)
    records, problems = collect(paths)
    if not records:
        complain(problem_lines(problems))
        raise DataError(f"no finished run under {', '.join(map(str, paths))}: train one with 'ltrun method=erm'")
    return _open(records, problems, asked)


def _open(records: Sequence[RunRecord], problems: Sequence[Problem], asked: argparse.Namespace) -> int:
    """Predicts open images by each run, stores what was predicted, and prints the open-set F-measure."""
    from ltrun.data.inputs import digest_of, images_of
    from ltrun.report.stored import with_stored

    images = list(dict.fromkeys(images_of(asked.open, sys.stdin)))
    digest, readable, done, whole = digest_of(images), list(images), list[RunRecord](), True
    for record in records:
        folder = record.path.parent if record.path else Path()
        try:
            _refuse(record, folder)
            found = _stored(record, folder, digest) or _predicted(record, folder, readable, digest, len(images), asked)
        except LtrunError as error:
            if not readable:
                raise
            complain([f"ltrun: {error}" if str(folder) in str(error) else f"ltrun: {folder}: {error}"])
            whole = False
            continue
        done.append(record)
        whole = whole and not found.left_out
    if done:
        measured, notes = with_stored(done, OPEN_SET)
        terminal(tables(measured, OPEN_SET))
        complain(notes)
    complain(problem_lines(problems))
    return 0 if whole else 1


def _refuse(record: RunRecord, folder: Path) -> None:
    if record.task == MULTI_LABEL:
        raise ConfigError(
            f"{folder} has several labels per image, and an image without any of its classes is no open image there: "
            "leave it out"
        )


def _stored(record: RunRecord, folder: Path, digest: str) -> OpenImages | None:
    """Returns what the run has stored of these images; None if it lacks a row or an image, or has other images."""
    try:
        found = OpenImages.load(folder, record)
    except DataError:
        return None
    if found.digest != digest or found.left_out or found.rows.keys() != record.without_experts().predictors.keys():
        return None
    print(f"{folder} has these {found.images:,} open images already", file=sys.stderr)
    return found


def _predicted(
    record: RunRecord, folder: Path, images: list[Path], digest: str, total: int, asked: argparse.Namespace
) -> OpenImages:
    """Predicts the images by every row of a run and stores what it says. Raises LtrunError.

    images: those that no earlier run found unreadable; loses those that this run finds so. digest: of all `total` images.
    """
    from ltrun.engine.predictors import PLAIN

    model = opened(folder, PLAIN, asked.device)
    if model.of_videos:
        raise ConfigError(f"{folder} classifies features of videos, and open images are images: leave it out")
    parts, notes = model.rows(folder)
    complain(f"{folder}: {note}" for note in (*model.notes, *notes))
    said: dict[str, list[tuple[Tensor, Tensor]]] = {row: [] for row in parts}
    problems: list[Guess] = []
    for _ in noting(_each(model, parts, images, asked.workers, said), problems, len(images), model.inputs):
        pass
    unread = {each.image for each in problems}
    images[:] = [image for image in images if str(image) not in unread]
    if not images:
        raise DataError(f"none of the {total:,} images can be read")
    found = OpenImages(digest, total - len(images), {row: _joined(each, digest) for row, each in said.items()})
    file = found.save(folder, record)
    print(f"{found.images:,} open images predicted by {title(model)}: {file}", file=sys.stderr)
    if problems:
        complain([f"ltrun: {len(problems):,} of {total:,} images could not be read; the runs are evaluated on the others"])
    return found


def _each(
    model: Model,
    parts: Mapping[str, PostHoc | None],
    images: Sequence[Path],
    processes: int | None,
    said: Mapping[str, list[tuple[Tensor, Tensor]]],
) -> Iterator[Guess]:
    """Yields each image once it is predicted, and appends classes and probabilities of a batch to the rows of `said`."""
    for found in inputs_of(model, images, processes):
        read = [row for row in range(len(found.inputs)) if row not in found.reasons]
        for name, scores in model.scores_by(parts, found.inputs).items():
            likeliest = scores[read].argmax(1)
            shares = model.context.task.probabilities(scores[read].double())
            said[name].append((likeliest, shares.gather(1, likeliest[:, None])[:, 0]))
        for row in range(len(found.inputs)):
            yield Guess(str(images[found.first + row]), problem=found.reasons.get(row, ""))


def _joined(batches: Sequence[tuple[Tensor, Tensor]], digest: str) -> Guesses:
    import torch

    classes, shares = (torch.cat(some).numpy() for some in zip(*batches, strict=True))
    return Guesses(classes, shares, digest)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ltrun evaluate",
        description="Evaluate finished runs on further data, keep what they say beside their results, and print the table.",
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="FOLDER", help=f"runs, or folders of runs; {DEFAULT}")
    parser.add_argument(
        "--open", nargs="+", default=[], metavar="IMAGES",
        help="images of classes that the runs were not trained on: files, folders, or lists (.txt) of paths; - is standard "
        "input",
    )  # fmt: skip
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--workers", type=workers, metavar="N", help="processes that decode; default: one per thread, up to 16")
    return parser
