"""`ltrun predict`: classes of image files by the model of a finished run."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ltrun.errors import ConfigError
from ltrun.machine import MOST_WORKERS
from ltrun.report.render.common import plain
from ltrun.report.render.predicted import TEXTS, Guess, lines, write
from ltrun.results.find import run_at

if TYPE_CHECKING:
    from ltrun.data.inputs import Decoded
    from ltrun.engine.model import Model

NAMED = 20  # the most unreadable images to name on standard error; a file names all
STDOUT = Path("-")


def main(argv: Sequence[str]) -> int:
    """Predicts images and prints or writes their likeliest classes. Returns 1 if an image could not be read.

    Raises LtrunError.
    """
    asked = _parser().parse_args(argv)
    given = {kind: file for kind in ("csv", "json", "parquet") if (file := getattr(asked, kind)) is not None}
    kind, file = next(iter(given.items()), ("", STDOUT))
    _check_place(kind, file)
    from ltrun.data.images import SUFFIXES
    from ltrun.data.inputs import images_of
    from ltrun.data.videos import SUFFIX

    model = opened(asked.run, asked.predictor, asked.device)
    paths = images_of(asked.images, sys.stdin, [SUFFIX] if model.of_videos else SUFFIXES)
    for note in model.notes:
        print(f"note: {plain(note)}", file=sys.stderr)
    top = min(asked.top, len(model.names))
    columns = None if model.several else top
    problems: list[Guess] = []
    guesses = noting(_guesses(model, paths, top, asked.workers), problems, len(paths), model.inputs)
    if kind and file != STDOUT:
        write(guesses, columns, file, kind)
    elif kind:
        TEXTS[kind](guesses, columns, sys.stdout)
    else:
        for line in lines(guesses):
            print(line)
    if len(problems) > NAMED:
        print(f"and {len(problems) - NAMED:,} more", file=sys.stderr)
    if kind and file != STDOUT:
        count = len(paths) - len(problems)
        print(f"{count:,} {model.inputs[: -1 if count == 1 else None]} predicted by {title(model)}: {file}")
    if problems:
        where = f"; the others are in {file}" if kind and file != STDOUT else ""
        noun = model.inputs[: -1 if len(paths) == 1 else None]
        print(f"ltrun: {len(problems):,} of {len(paths):,} {noun} could not be read{where}", file=sys.stderr)
    return 1 if problems else 0


def opened(run: Path, predictor: str | None, device: str, runtime: Mapping[str, Any] = MappingProxyType({})) -> Model:
    """Returns the model of the run at a path. runtime: keys of its `runtime` to change. Raises LtrunError."""
    from ltrun.config.compose import hydra_ready
    from ltrun.config.plugins import PLUGINS, from_environment, refuse_missing
    from ltrun.config.recorded import config_here
    from ltrun.engine.model import model_of

    file, record = run_at(run)
    plugins = from_environment()
    refuse_missing(PLUGINS, plugins)
    with hydra_ready():
        config = config_here(record, file, plugins)
    config["runtime"] |= runtime
    return model_of(record, file.parent, config, predictor, device)


def title(model: Model) -> str:
    """Returns `erm on digits_lt, seed 0, predictor ncm`."""
    record = model.record
    row = "" if model.predictor == record.headline else f", predictor {model.predictor}"
    return plain(f"{record.label} on {record.dataset}, seed {record.seed}{row}")


def _check_place(kind: str, file: Path) -> None:
    """Raises ConfigError for a place where the predictions cannot go, before anything is computed."""
    if kind == "parquet" and file == STDOUT:
        raise ConfigError("--parquet -: a Parquet file is not text; name a file")
    if kind and file != STDOUT:
        if file.is_dir():
            raise ConfigError(f"--{kind} {file}: this is a folder; name a file")
        if file.exists() and file.suffix.lower() != f".{kind}":
            raise ConfigError(f"--{kind} {file}: this exists and is no {kind} file; name a file that ends in .{kind}")


def _guesses(model: Model, paths: Sequence[Path], top: int, workers: int | None) -> Iterator[Guess]:
    """Yields the likeliest classes of each image, in order; of several labels per image all that are predicted, or else the
    likeliest. Probabilities are the task's, of the scores of the row."""
    names = model.names
    for found in inputs_of(model, paths, workers):
        scores = model.scores(found.inputs).double()
        predicted = (scores > 0).sum(1).tolist() if model.several else [top] * len(scores)
        likeliest = model.context.task.probabilities(scores).topk(max(top, *predicted))
        each = zip(likeliest.indices.tolist(), likeliest.values.tolist(), predicted, strict=True)
        for row, (classes, probabilities, count) in enumerate(each):
            image, shown = str(paths[found.first + row]), count or top
            if row in found.reasons:
                yield Guess(image, problem=found.reasons[row])
            else:
                yield Guess(image, tuple(names[c] for c in classes[:shown]), tuple(probabilities[:shown]), below=not count)


def inputs_of(model: Model, paths: Sequence[Path], workers: int | None) -> Iterator[Decoded]:
    """Yields the images or videos in order, a batch at a time, as the evaluation of the run reads them."""
    from ltrun.data.inputs import decoded
    from ltrun.data.video_inputs import features_of

    shape, batch = model.context.input_shape, model.context.evaluation_batch
    if model.of_videos:
        frames, width = shape
        return features_of(paths, frames, width, batch)
    if workers is None and len(paths) <= batch:
        workers = 0  # starting processes would take longer
    return decoded(paths, model.view, shape[0], batch, workers)


def noting(guesses: Iterator[Guess], problems: list[Guess], total: int, noun: str) -> Iterator[Guess]:
    """Yields the predictions, shows the progress on standard error, names unreadable images there and keeps them."""
    from rich.console import Console
    from rich.progress import Progress

    from ltrun import streams
    from ltrun.engine.course import Pace, duration
    from ltrun.engine.progress import REDRAWN, Line

    console = Console(stderr=True, highlight=False)
    began = looked = time.monotonic()
    pace = Pace(began)
    with ExitStack() as held:
        bar = held.enter_context(Progress(Line(), console=console, transient=True)) if streams.is_live(console) else None
        task = bar.add_task("predicting", total=total) if bar else None
        for done, guess in enumerate(guesses, 1):
            if guess.problem:
                problems.append(guess)
                if len(problems) <= NAMED:
                    console.print(guess.line.replace(": ", " ", 1), markup=False, highlight=False, soft_wrap=True)
            yield guess
            now = time.monotonic()
            if now - looked < REDRAWN:
                continue
            looked, left = now, (total - done) * (now - began) / done
            if bar is not None and task is not None:
                bar.update(task, completed=done, left=left)
            elif pace.due(now):
                print(f"{done:,} of {total:,} {noun} | {duration(left)} left", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "ltrun predict",
        description="Predict the classes of images, or of videos by their features, by a finished run, which prepares them as "
        "it prepared its test images.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the folder of a run, or its result.json")
    parser.add_argument(
        "images", nargs="*", metavar="IMAGES",
        help="images or features of videos (.npy), folders of them, or lists (.txt) of their paths; -, or nothing: paths from "
        "standard input",
    )  # fmt: skip
    parser.add_argument("--predictor", metavar="NAME", help="default: the predictor that stands for the method")
    parser.add_argument(
        "--top",
        type=_positive,
        default=5,
        metavar="N",
        help="the likeliest N classes of each image; of several labels only where none is above 50%%; default: 5",
    )
    formats = parser.add_mutually_exclusive_group()
    formats.add_argument("--csv", type=Path, metavar="OUT", help="write comma-separated values; - prints them")
    formats.add_argument("--json", type=Path, metavar="OUT", help="write JSON; - prints it")
    formats.add_argument("--parquet", type=Path, metavar="OUT", help="write a Parquet file")
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:1")
    parser.add_argument("--workers", type=workers, metavar="N", help="processes that decode; default: one per thread, up to 16")
    return parser


def _positive(text: str) -> int:
    if (number := _whole(text)) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, got {text!r}")
    return number


def workers(text: str) -> int:
    if (number := _whole(text)) > MOST_WORKERS:
        raise argparse.ArgumentTypeError(f"expected at most {MOST_WORKERS}, got {text!r}")
    return number


def _whole(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, got {text!r}")
    return int(text)
