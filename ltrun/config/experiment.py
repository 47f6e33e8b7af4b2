"""Sweeps that an experiment holds: command lines under its key `sweep.commands`, each as after `ltrun -m`."""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

from ltrun.config import catalogue
from ltrun.config.words import CONFIG_DIR, MULTIRUN, for_hydra
from ltrun.errors import ConfigError
from ltrun.machine import at_home

ALONE = "sweep.commands=[]"  # in the command of a job: it trains this run, and not its sweep


def sweep_of(argv: Sequence[str]) -> list[list[str]]:
    """Returns the lines of the sweep of a command line's `experiment=NAME`, quoted for Hydra; none without one.

    Raises ConfigError for a sweep that is not a list of command lines, and for a list that is not below `commands`.
    """
    given = {key: value for word in argv for key, equals, value in [word.partition("=")] if equals}
    name = given.get("experiment", "null")
    if name == "null":
        return []
    more = [Path(at_home(folder, flag)) for flag, folder in itertools.pairwise(argv) if flag in CONFIG_DIR]
    if name not in catalogue.names(more)["experiment"]:
        return []
    try:
        content = yaml.safe_load(catalogue.file_of("experiment", name, more).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):  # composing the configuration says why
        return []
    sweep = content.get("sweep") if isinstance(content, dict) else None
    if isinstance(sweep, list):
        raise ConfigError(
            f"experiment={name}: the command lines of a sweep stand one level deeper now: sweep: {{commands: [...]}}"
        )
    lines = sweep.get("commands", []) if isinstance(sweep, dict) else sweep
    if lines in (None, []) or given.keys() & {"sweep", "sweep.commands"}:
        return []
    if not isinstance(lines, list) or not all(isinstance(line, str) and line.strip() for line in lines):
        raise ConfigError(
            f"experiment={name}: sweep.commands must be a list of command lines, such as 'method=erm,crt seed=0,1'"
        )
    return [[word for word in for_hydra([MULTIRUN[0], *shlex.split(line)]) if word not in MULTIRUN] for line in lines]


def chooses(lines: Sequence[Sequence[str]]) -> bool:
    """Whether an experiment chooses between its methods on validation images: not if it is a published table.

    Such a table trains on all images, and so names `dataset.validation_per_class`.
    """
    return bool(lines) and not any(word.startswith("dataset.validation") for line in lines for word in line)
