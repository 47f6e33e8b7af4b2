"""`ltrun data`: description of a data set without training, a sheet of augmented images, verification of its cache, export."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ltrun import streams
from ltrun.config import catalogue, search_path
from ltrun.config.compose import Job, compose_job, composed, hydra_ready, resolved
from ltrun.config.explain import explained
from ltrun.config.plugins import plugins_of
from ltrun.config.settings import Settings
from ltrun.config.words import CONFIG_DIR, for_hydra
from ltrun.data.cifar import CIFARLT
from ltrun.data.describe import describe
from ltrun.data.export import export
from ltrun.data.source import Source
from ltrun.data.verify import verifying
from ltrun.data.video_pack import PACKED, pack
from ltrun.data.videolt import VideoLT
from ltrun.data.videos import FEATURES
from ltrun.engine.progress import show_log
from ltrun.errors import ConfigError, nearest
from ltrun.machine import at_home
from ltrun.recipe.read import dataset_of, recipe_of
from ltrun.results.atomic import write_atomically

USAGE = """usage: ltrun data dataset=NAME [dataset.KEY=VALUE ...]
       ltrun data dataset=NAME [augmentation=NAME] [KEY=VALUE ...] --show FILE.png
       ltrun data --verify dataset=NAME [dataset.KEY=VALUE ...]
       ltrun data export dataset=NAME [dataset.KEY=VALUE ...] to=FOLDER
       ltrun data pack dataset=videolt [dataset.KEY=VALUE ...] to=FOLDER [dtype=float16]"""

VERIFY, SHOW = "--verify", "--show"
WRITING = ("export", "pack")  # words that stand first, and write to=FOLDER
SHOWN = 20  # the largest number of images to name that differ from the cache

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Describes a data set, verifies its cache, exports or packs it. Raises LtrunError."""
    show_log()
    _check_words(argv)
    if not any(word.startswith("dataset=") for word in argv):
        print(f"{USAGE}\ndata sets: {', '.join(option.name for option in catalogue.options('dataset'))}")
        return 0 if argv in (["--help"], ["-h"]) else 1
    if argv[0] == "export":
        _export(argv[1:])
    elif argv[0] == "pack":
        _pack(argv[1:])
    elif any(word.partition("=")[0] == SHOW for word in argv):
        _show(argv)
    elif VERIFY in argv:
        return _verify(argv)
    else:
        settings, source = _source(argv)
        many, few = settings.evaluation.many, settings.evaluation.few
        describe(settings.dataset.name, source.open(torch.device("cpu")), streams.console(), many=many, few=few)
    return 0


def _check_words(argv: Sequence[str]) -> None:
    """Raises ConfigError for a word that this command does not have."""
    for index, word in enumerate(argv):
        key = word.partition("=")[0]
        if (
            word == VERIFY
            or key == SHOW
            or (index and argv[index - 1] in (*CONFIG_DIR, SHOW))
            or (word.startswith("-") and key in CONFIG_DIR)
        ):
            continue
        if near := nearest(f"--{key.lstrip('-')}", [VERIFY, SHOW]):
            meant = f"ltrun data {VERIFY} dataset=NAME" if near == VERIFY else f"ltrun data dataset=NAME {SHOW} FILE.png"
            raise ConfigError(f"ltrun data has no '{word}': did you mean '{meant}'?")
        if word in WRITING and (index or VERIFY in argv):
            raise ConfigError(
                f"{word} stands first and alone: write ltrun data {word} dataset=NAME to=FOLDER, or, to compare the images "
                f"with the cache, ltrun data {VERIFY} dataset=NAME"
            )
        if not index and re.fullmatch(r"\w+", word) and word not in WRITING:
            raise ConfigError(
                f"ltrun data has no '{word}': write ltrun data export, ltrun data pack, ltrun data {VERIFY} dataset=NAME, or "
                "ltrun data dataset=NAME"
            )


def _verify(argv: Sequence[str]) -> int:
    """Reads every image again and corrects the cache. Returns 1 if the cache held other images."""
    _, source = _source([word for word in argv if word != VERIFY])
    with verifying() as found:
        source.open(torch.device("cpu"))
    if differing := found.differing:
        print(f"{len(differing):,} of {found.images:,} images differed from the cache, which now holds them as they are:")
        print("\n".join(f"  {name}" for name in differing[:SHOWN]))
        if len(differing) > SHOWN:
            print(f"  and {len(differing) - SHOWN:,} more")
    elif found.images:
        print(f"{found.images:,} images match the cache")
    elif found.missing:
        print("the cache held none of these images; it does now")
    else:
        print("these images are not kept in a cache: there is nothing to compare")
    return 1 if differing else 0


def _show(argv: Sequence[str]) -> None:
    """Writes a sheet of augmented training images."""
    from ltrun.engine.sheet import sheet_of

    rest, files = list[str](), list[str]()
    words = iter(argv)
    for word in words:
        key, equals, value = word.partition("=")
        if key == SHOW:
            files.append(value if equals else next(words, ""))
        else:
            rest.append(word)
    if VERIFY in rest:
        raise ConfigError(f"{SHOW} and {VERIFY} are two commands: give one of them")
    if len(files) != 1 or not files[0]:
        raise ConfigError(f"{SHOW}: name one file to write, as in 'ltrun data dataset=cifar100_lt {SHOW} sheet.png'")
    path = Path(at_home(files[0], SHOW))
    if path.suffix.lower() != ".png" or path.is_dir():
        raise ConfigError(f"{SHOW}: the sheet is a PNG file, so name a file that ends in .png, not {path}")
    argv = for_hydra(rest, CONFIG_DIR)
    search_path.use(argv)
    job = _job(argv, search_path.without_flags(argv))
    recipe = recipe_of(job.config, job.choices, job.settings.plugins)
    write_atomically(path, sheet_of(job.settings, recipe, log.warning))
    print(f"written to {path}")
    first = recipe.stages[0]
    if mixers := ", ".join(first.mixers):
        print(f"not on the sheet: {mixers}, which mixes the images of a batch once they are prepared")
    if inside := ", ".join(first.feature_mixers):
        print(f"not on the sheet: {inside}, which changes images or maps on their way through the network")


def _taken(argv: Sequence[str], key: str) -> tuple[list[str], list[str]]:
    """Returns the values of `key=VALUE`, and the other words."""
    return [word.removeprefix(key) for word in argv if word.startswith(key)], [
        word for word in argv if not word.startswith(key)
    ]


def _target(argv: Sequence[str], example: str) -> tuple[Path, list[str]]:
    """Returns the folder of `to=FOLDER`, and the other words. Raises ConfigError unless there is one folder."""
    targets, rest = _taken(argv, "to=")
    if len(targets) != 1 or not targets[0]:
        raise ConfigError(f"to: name one folder to write to, as in 'ltrun data {example} to=FOLDER'")
    return Path(at_home(targets[0], "to")), rest


def _pack(argv: Sequence[str]) -> None:
    """Writes the features of videos one after the other to one file."""
    folder, rest = _target(argv, "pack dataset=videolt")
    types, rest = _taken(rest, "dtype=")
    if types and (len(types) > 1 or types[0] not in PACKED):
        raise ConfigError(f"dtype must be {' or '.join(PACKED)}, or left out to keep the features as they are, got {types[-1]}")
    settings, source = _source(rest)
    if not isinstance(source, VideoLT):
        raise ConfigError(f"dataset={settings.dataset.name} cannot be packed, only features of videos can (dataset=videolt)")
    videos = source.found().videos
    pack(videos, folder, np.dtype(types[0]) if types else videos.dtype)
    size = (folder / FEATURES).stat().st_size / 1e9
    print(f"{folder / FEATURES}: {len(videos.ids):,} videos, {videos.frames.sum():,} frames, {size:.2f} GB")
    lists = [f"dataset.lists={source.lists or source.root}"]
    print(f"read them with: {shlex.join([f'dataset={settings.dataset.name}', f'dataset.root={folder}', *lists])}")


def _export(argv: Sequence[str]) -> None:
    folder, rest = _target(argv, "export dataset=cifar100_lt")
    settings, source = _source(rest)
    dataset = settings.dataset.name
    if not isinstance(source, CIFARLT):
        raise ConfigError(
            f"dataset={dataset} cannot be exported, only cifar10_lt and cifar100_lt can: digits_lt comes with scikit-learn, "
            "and an image folder can be copied as it is"
        )
    splits = source.splits()
    files = export(source.release, source.tail, splits, folder)
    for file, (_, rows) in zip(files, splits.values(), strict=True):
        print(f"{file}: {len(rows):,} images, {file.stat().st_size / 1e6:.1f} MB")
    read = [f"dataset={dataset}", f"dataset.root={folder}", *source.tail.words()]
    print(f"read them with: {shlex.join(read)}")


def _source(argv: Sequence[str]) -> tuple[Settings, Source]:
    """Returns the settings of a command line, and its data set, not yet opened."""
    argv = for_hydra(argv, CONFIG_DIR)
    search_path.use(argv)
    overrides = search_path.without_flags(argv)
    config = _composed(argv, overrides)
    settings = Settings.of(config)
    return settings, dataset_of(config, plugins_of(settings, overrides))


def _job(argv: Sequence[str], overrides: Sequence[str]) -> Job:
    """Returns the job that a command line would train. Raises LtrunError."""
    try:
        with hydra_ready():
            return compose_job(overrides)
    except Exception as error:
        raise explained(error, argv) from None


def _composed(argv: Sequence[str], overrides: Sequence[str]) -> Any:
    """Returns the resolved configuration of a command line. Raises LtrunError."""
    try:
        with hydra_ready():
            return resolved(composed(overrides).cfg)
    except Exception as error:
        raise explained(error, argv) from None
