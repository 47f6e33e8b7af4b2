"""Catalogue of all options: the groups, and the header of each option's YAML file. Imports no torch.

A header is the leading comment of an option's file: one line that says what it does, then one with its citation, or
`no citation: why`. Headers of methods and data sets have a line `name: LDAM-DRW`, the name as papers write it. The header of a
preset also has
* `command:`, the command that trains it,
* `expected:`, the published accuracy on CIFAR100-LT, or mAP on the data set of its command, and its band, with which the
  reproduction compares ltrun's runs,
* `checked:`, how far tests check its arithmetic: `matches ldam; shared parts match resnet32` names files of reference values,
  `implemented, agrees with the paper's equation` says what a test compares it with,
* `family:`, the slot or the leaf of the taxonomy under which the page of methods lists it, or `plain`.
Other options may have these lines too.
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
CHECKED = re.compile(r"(?:matches (?P<own>[^;]+)|implemented, [^;]+)(?:; shared parts match (?P<shared>[^;]+))?")
NOTE = re.compile(r" \([^)]*\)")  # behind a name in `checked:`
KEYS = ("name:", "command:", "expected:", "checked:", "family:")  # of a header; its other lines are prose
SEARCHPATH = "LTRUN_SEARCHPATH"  # environment: folders of the user's options, separated as in PATH


@dataclass(frozen=True)
class Option:
    """One file of a group. title: the name in papers. A field that the header lacks is empty."""

    name: str
    summary: str = ""
    citation: str = ""
    expected: str = ""
    title: str = ""
    checked: str = ""
    family: str = ""
    command: str = ""

    @property
    def trained_on(self) -> str:
        """The data set of `command`; empty without one."""
        found = re.search(r"\bdataset=(\w+)", self.command)
        return found[1] if found else ""

    @property
    def band(self) -> tuple[float, float] | None:
        """The lowest and highest accuracy in percent of the band in `expected`: 41 and 43 in `42.0 (paper); 41 to 43`."""
        found = BAND.search(self.expected)
        return (float(found[1]), float(found[2])) if found else None

    @property
    def golden(self) -> tuple[str, ...]:
        """The files of reference values that `checked` names: the option's own, then the files of shared parts."""
        found = CHECKED.fullmatch(NOTE.sub("", self.checked))
        listed = (found["own"], found["shared"]) if found else ()
        return tuple(name.strip() for names in listed if names for name in names.split(","))


def folders(more: Sequence[Path] = ()) -> list[Traversable]:
    """Returns the folders of options: ltrun's, `more`, LTRUN_SEARCHPATH's. The first folder that has a name wins.

    Raises ConfigError if one of `more` or of LTRUN_SEARCHPATH is missing.
    """
    return [resources.files("ltrun.conf"), *existing(more), *existing(from_environment())]


def from_environment() -> list[Path]:
    """Returns the folders in LTRUN_SEARCHPATH."""
    from ltrun.machine import at_home

    named = os.environ.get(SEARCHPATH, "").split(os.pathsep)
    return [Path(at_home(folder, SEARCHPATH)) for folder in named if folder]


def existing(named: Sequence[Path]) -> Sequence[Path]:
    """Returns the folders unchanged. Raises ConfigError if one is missing."""
    for folder in named:
        if not folder.is_dir():
            raise ConfigError(f"options are read from {folder}, which is not a folder; see --config-dir and {SEARCHPATH}")
    return named


def groups(more: Sequence[Path] = ()) -> list[str]:
    """Returns the names of the groups that have options: the groups of ltrun.taxonomy in their order, then the others."""
    found = {entry.name for folder in folders(more) for entry in _entries(folder) if entry.is_dir() and any(_yaml(entry))}
    found = {name for name in found if name not in PRIVATE and name.isidentifier()}
    return sorted(found, key=lambda name: (GROUPS.index(name) if name in GROUPS else len(GROUPS), name))


def options(group: str, more: Sequence[Path] = ()) -> list[Option]:
    """Returns the options of a group by name, `none` first. Raises ConfigError for an unknown group."""
    if group not in (known := groups(more)):
        raise ConfigError(f"there is no group '{group}'{did_you_mean(group, known)}")
    found: dict[str, Option] = {}
    for folder in folders(more):
        for file in _yaml(folder / group):
            found.setdefault(_name(file), option_of(file))
    return sorted(found.values(), key=lambda option: (option.name != "none", option.name))


def names(more: Sequence[Path] = ()) -> dict[str, set[str]]:
    """Returns group -> the names of its options."""
    places = folders(more)
    return {group: {name for place in places for name in names_in(place / group)} for group in groups(more)}


def names_in(folder: Traversable) -> set[str]:
    """Returns the names of the options in one folder; none if there is no such folder."""
    return {_name(file) for file in _yaml(folder)}


def suggest(group: str, name: str, more: Sequence[Path] = ()) -> str:
    """Returns "; did you mean 'ldam'?" for a misspelt option, or the list of the group's options."""
    return did_you_mean(name, [option.name for option in options(group, more)])


def titles(group: str) -> dict[str, str]:
    """Returns option -> its name in papers, also of options in LTRUN_SEARCHPATH; empty if a folder there is missing."""
    try:
        return {option.name: option.title for option in options(group) if option.title}
    except ConfigError:  # a missing folder is refused elsewhere, not for the sake of names
        return {}


def file_of(group: str, name: str, more: Sequence[Path] = ()) -> Traversable:
    """Returns the file of an option. Raises ConfigError if there is none."""
    for folder in folders(more):
        if (file := folder / group / f"{name}{SUFFIX}").is_file():
            return file
    raise ConfigError(f"{group}: there is no option '{name}'{suggest(group, name, more)}")


def option_of(file: Traversable) -> Option:
    """Returns an option with the fields of its header."""
    try:
        lines = header_of(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        lines = []
    said = {key: line.removeprefix(key).strip() for line in reversed(lines) for key in KEYS if line.startswith(key)}
    summary, citation = [*prose_of(lines), "", ""][:2]
    return Option(
        _name(file),
        summary,
        "" if citation.lower().startswith("no ") else citation,
        expected=said.get("expected:", ""),
        title=said.get("name:", ""),
        checked=said.get("checked:", ""),
        family=said.get("family:", ""),
        command=said.get("command:", ""),
    )


def header_of(text: str) -> list[str]:
    """Returns the lines of a file's leading comment, without # and without characters that cannot be printed."""
    lines = []
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        lines.append("".join(c for c in line.lstrip("#").strip() if c.isprintable()))
    return lines


def prose_of(header: Sequence[str]) -> list[str]:
    """Returns the lines of a header without `@package` and without KEYS: the summary, then the citation."""
    return [line for line in header if line and not line.startswith(("@package", *KEYS))]


def _name(file: Traversable) -> str:
    return file.name.removesuffix(SUFFIX)


def _yaml(folder: Traversable) -> Iterator[Traversable]:
    return (entry for entry in _entries(folder) if entry.name.endswith(SUFFIX) and entry.is_file())


def _entries(folder: Traversable) -> list[Traversable]:
    try:
        return list(folder.iterdir())
    except OSError:  # one of several places, which need not have every group
        return []
