"""What can be composed: the options of every group, as the headers of their YAML files describe them. Needs no torch.

A header is the leading comment of an option's file: one line that says what it does, then one with its citation, or
`no citation: why`. Those of methods and data sets have `name: LDAM-DRW` besides, the name as papers write it; that of a preset
has `command:`, and `expected:` with what is published of it and the band of that on CIFAR100-LT, which the benchmark holds
results against.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from ltrun.errors import ConfigError, did_you_mean
from ltrun.taxonomy import GROUPS

PRIVATE = ("hydra", "local", "on")  # not for choosing on a command line
SUFFIX = ".yaml"
BAND = re.compile(r"; (\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)\b")
TITLE, COMMAND, EXPECTED = KEYS = "name:", "command:", "expected:"  # of a header; its other lines are prose
SEARCHPATH = "LTRUN_SEARCHPATH"  # environment: folders of one's own options, separated as in PATH


@dataclass(frozen=True)
class Option:
    """One file of a group. title: the name in papers. Whatever its header does not say is empty."""

    name: str
    summary: str = ""
    citation: str = ""
    expected: str = ""
    title: str = ""

    @property
    def band(self) -> tuple[float, float] | None:
        """Lowest and highest accuracy, in percent, that `expected` calls published: `42.0 (paper); 41 to 43`."""
        found = BAND.search(self.expected)
        return (float(found[1]), float(found[2])) if found else None


def folders(more: Sequence[Path] = ()) -> list[Traversable]:
    """Where options lie: ltrun's own, `more`, those in LTRUN_SEARCHPATH. The first to have a name wins, as in Hydra.

    Raises ConfigError for one of `more`, or of the environment, that is missing.
    """
    return [resources.files("ltrun.conf"), *existing(more), *existing(from_environment())]


def from_environment() -> list[Path]:
    """The folders in LTRUN_SEARCHPATH."""
    from ltrun.machine import at_home

    named = os.environ.get(SEARCHPATH, "").split(os.pathsep)
    return [Path(at_home(folder, SEARCHPATH)) for folder in named if folder]


def existing(named: Sequence[Path]) -> Sequence[Path]:
    """The folders that options are to be read from. Raises ConfigError if one is missing."""
    for folder in named:
        if not folder.is_dir():
            raise ConfigError(f"options are to be read from {folder}, which is not a folder; see --config-dir and {SEARCHPATH}")
    return named


def groups(more: Sequence[Path] = ()) -> list[str]:
    """Names of the groups that have options: those of ltrun.taxonomy in their order, then the others."""
    found = {entry.name for folder in folders(more) for entry in _entries(folder) if entry.is_dir() and any(_yaml(entry))}
    found = {name for name in found if name not in PRIVATE and name.isidentifier()}
    return sorted(found, key=lambda name: (GROUPS.index(name) if name in GROUPS else len(GROUPS), name))


def options(group: str, more: Sequence[Path] = ()) -> list[Option]:
    """The options of a group by name, `none` first. Raises ConfigError for an unknown group."""
    if group not in (known := groups(more)):
        raise ConfigError(f"there is no group '{group}'{did_you_mean(group, known)}")
    found: dict[str, Option] = {}
    for folder in folders(more):
        for file in _yaml(folder / group):
            found.setdefault(_name(file), option_of(file))
    return sorted(found.values(), key=lambda option: (option.name != "none", option.name))


def names(more: Sequence[Path] = ()) -> dict[str, set[str]]:
    """Group -> the names of its options; `experiment`, a group of the user's alone, is always there."""
    places = folders(more)
    found = {group: {_name(file) for place in places for file in _yaml(place / group)} for group in groups(more)}
    return {"experiment": set(), **found}


def suggest(group: str, name: str, more: Sequence[Path] = ()) -> str:
    """'; did you mean 'ldam'?' for a misspelt option, or the list of what the group offers."""
    return did_you_mean(name, [option.name for option in options(group, more)])


def titles(group: str) -> dict[str, str]:
    """Method or data set -> its name in papers, of ltrun's own and of those in LTRUN_SEARCHPATH, if its folders are there."""
    try:
        return {option.name: option.title for option in options(group) if option.title}
    except ConfigError:  # a missing folder is no matter of those who only read names
        return {}


def file_of(group: str, name: str, more: Sequence[Path] = ()) -> Traversable:
    """The file of an option. Raises ConfigError where there is none."""
    for folder in folders(more):
        if (file := folder / group / f"{name}{SUFFIX}").is_file():
            return file
    raise ConfigError(f"{group}: there is no option '{name}'{suggest(group, name, more)}")


def option_of(file: Traversable) -> Option:
    """An option as its header describes it."""
    return Option(_name(file), *_header(file))


def _header(file: Traversable) -> tuple[str, str, str, str]:
    """(summary, citation, expected, title) of a file; empty where it has none or cannot be read."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return "", "", "", ""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append("".join(c for c in line.lstrip("#").strip() if c.isprintable()))
    prose = [line for line in lines if line and not line.startswith(("@package", *KEYS))]
    summary, citation = [*prose, "", ""][:2]

    def said(key: str) -> str:
        return next((line.removeprefix(key).strip() for line in lines if line.startswith(key)), "")

    return summary, "" if citation.lower().startswith("no ") else citation, said(EXPECTED), said(TITLE)


def _name(file: Traversable) -> str:
    return file.name.removesuffix(SUFFIX)


def _yaml(folder: Traversable) -> Iterator[Traversable]:
    return (entry for entry in _entries(folder) if entry.name.endswith(SUFFIX) and entry.is_file())


def _entries(folder: Traversable) -> list[Traversable]:
    try:
        return list(folder.iterdir())
    except OSError:  # one of several places, which need not have every group
        return []
