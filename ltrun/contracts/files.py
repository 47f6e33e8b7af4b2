"""Contracts of option files: header and citation, keys of their own group only, `override` lines in presets, valid targets."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ltrun.config import catalogue
from ltrun.config.bind import bind, locate, public_name
from ltrun.contracts.contract import BrokenContract, Contract, require
from ltrun.contracts.library import Library, content_of
from ltrun.errors import did_you_mean
from ltrun.parts import CONTEXT
from ltrun.taxonomy import GROUPS, NOT_ARGUMENTS

GLOBAL = "# @package _global_"
UPDATE = "ltrun.engine.update"  # classes of a role without a group
MONTH = "(0[1-9]|1[0-2])"
ARXIV = re.compile(rf"((0\d|1[0-4]){MONTH}\.\d{{4}}|(1[5-9]|[2-9]\d){MONTH}\.\d{{5}})(v\d+)?[,;:.)]?")  # five digits since 2015
LONGEST = 128  # characters of a header's sentence
MAY = {
    "method": {"defaults"},
    "decoupling": {"defaults", "plan", "stages"},
    "transfer": {"defaults", "before", "stages", "transfer"},
}
STAGED = "transfer"  # a group whose options may set stages, then as a global package, or parts alone
OF_A_DATASET = {"defaults", "dataset", "epochs", "batch_size", "runtime", "evaluation"}


@dataclass(frozen=True)
class File:
    """The YAML file of an option. library: the options and packages that it may name."""

    library: Library
    path: Path

    @property
    def group(self) -> str:
        return self.path.parent.name

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def content(self) -> Any:
        return content_of(self.path)

    @property
    def header(self) -> list[str]:
        """The lines of the leading comment, without the #."""
        return catalogue.header_of(self.text)

    @property
    def prose(self) -> list[str]:
        """The lines of the header without `@package` and without the keys of the catalogue, such as `name:`."""
        return catalogue.prose_of(self.header)


def of_a_file(file: File) -> Iterator[Contract]:
    """Yields the contracts of an option's file."""
    yield from (
        Contract(name, partial(check, file))
        for name, check in (
            ("the header begins with a sentence that says what the option does", begins_with_a_sentence),
            ("the second line of the header cites the paper, with its year", cites),
            ("the file writes below its own group only", writes_below_its_group),
        )
    )
    if file.group == "method":
        yield Contract("the header of a preset has its command and the expected accuracy", lambda: says_its_command(file))
        yield Contract("a preset holds override lines only", lambda: holds_overrides_only(file), decisive=True)
    else:
        name = "each _target_ is an exported class, and the arguments fit its signature"
        yield Contract(name, lambda: targets_bind(file), decisive=True)


def begins_with_a_sentence(file: File) -> None:
    """Checks that the header begins with one sentence: a capital letter, a full stop, less than LONGEST characters."""
    lines, first = file.prose, f"{file.path}: begin with a comment of one sentence that says what the option does"
    require(lines, f"{first}, as in '# Divides the logits by a temperature that grows with rarity.'")
    require(
        not lines[0][0].islower() and lines[0].endswith("."), f"{first}; '{lines[0]}' has no capital letter or no full stop"
    )
    require(len(lines[0]) < LONGEST, f"{first}, in less than {LONGEST} characters; this one has {len(lines[0])}")


def cites(file: File) -> None:
    """Checks the citation in the second line of the header: a year and well-formed arXiv numbers, or `no ...: why`."""
    if file.path.stem == "none":
        return
    way = "cite the paper with its year, '# Ye et al., 2020, arXiv 2001.01385', or write '# no citation: why'"
    require(len(file.prose) > 1, f"{file.path} has no second line of comment; {way}")
    said = file.prose[1]
    cited = re.search(r"\b(1[89]|20)\d\d\b", re.sub(r"arXiv \S+", "", said)) or said.lower().startswith("no ")
    require(cited, f"{file.path}: '{said}' has neither a year nor begins with 'no ...:'; {way}")
    for number in re.findall(r"arXiv[ :]\s*(\S+)", said):
        well = ARXIV.fullmatch(number)
        require(well, f"{file.path}: '{number}' is not an arXiv number, such as 2001.01385; correct it")


def writes_below_its_group(file: File) -> None:
    """Checks that a file writes keys of its own group only, and begins with `# @package _global_` where it must.

    Numbers of one slot in the file of another would survive when that slot is set to another option.
    """
    is_global, path, group = file.text.startswith(GLOBAL), file.path, file.group
    keys = set(file.content) if isinstance(file.content, dict) else set()
    if group == "experiment":
        require(is_global, f"{path}: an experiment may set any key; begin it with '{GLOBAL}'")
        return
    if group != "dataset" and (group not in MAY or (group == STAGED and not is_global)):
        require(not is_global, f"{path}: an option of {group} writes below its own group; remove the line '{GLOBAL}'")
        require(
            "defaults" not in keys,
            f"{path}: an option of {group} cannot choose other options; move 'defaults' to a method/*.yaml",
        )
        return
    require(is_global, f"{path}: the first line of a {group} is '{GLOBAL}'; add it")
    if group == "dataset":
        require("dataset" in keys, f"{path}: the data set itself lies below the key 'dataset'; add it, as in digits_lt.yaml")
    more = keys - (OF_A_DATASET if group == "dataset" else MAY[group])
    require(
        not more,
        f"{path}: '{min(more, default='')}' does not belong in a {group}, where it would stay when another option is chosen; "
        "move it into the file of the option that it sets",
    )


def holds_overrides_only(file: File) -> None:
    """Checks that the defaults of a preset are lines `override /GROUP: OPTION` with groups and options that exist."""
    options, path = file.library.options, file.path
    entries: Any = file.content.get("defaults") if isinstance(file.content, dict) else None
    way = "write '- override /GROUP: OPTION'"
    require(isinstance(entries, list), f"{path} has no defaults; {way} below 'defaults:' for each slot of the method")
    for entry in entries:
        key, option = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (str(entry), None)
        match = re.fullmatch(r"override /(\w+)", str(key))
        require(match, f"{path}: '{key}' in its defaults is not an override line; {way}")
        group = match[1] if match else ""
        require(group in GROUPS, f"{path}: there is no group '{group}'{did_you_mean(group, GROUPS)}")
        for name in option if isinstance(option, list) else [option]:
            near = did_you_mean(str(name), options[group])
            require(name in options[group], f"{path}: {group} has no option '{name}'{near}")


def says_its_command(file: File) -> None:
    """Checks that the header of a preset has a command that trains it, and the published accuracy or `nothing published`."""
    path, name = file.path, file.path.stem
    said = {key: [line for line in file.header if line.startswith(f"{key}: ")] for key in ("command", "expected")}
    example = {"command": f"# command: ltrun method={name} dataset=cifar100_lt", "expected": "# expected: nothing published"}
    for key, lines in said.items():
        require(len(lines) == 1, f"{path}: its header has {len(lines) or 'no'} lines '{key}:'; write one, '{example[key]}'")
    (command,), (expected,) = said["command"], said["expected"]
    number = re.search(r"\d\d\.\d|nothing (published|verified)", expected)
    require(number, f"{path}: '{expected}' states no accuracy such as 42.0; give the published number, or 'nothing published'")
    program, *words = command.removeprefix("command: ").split()
    right = program == "ltrun" and f"method={name}" in words
    require(right, f"{path}: '{command}' does not train this preset; write '{example['command']}'")
    options = file.library.options
    for word in words:
        group, _, option = word.partition("=")
        if file.library.plugins and (group in ("plugins", "--config-dir") or "=" not in word):
            continue
        require(group in options, f"{path}: its command names {word}, and {group} is not a group; leave it out")
        near = did_you_mean(option, options.get(group, ()))
        require(option in options[group], f"{path}: its command names {word}, and {group} has no such option{near}")


def targets_bind(file: File) -> None:
    """Checks each part of the file: its class is exported, and its arguments fit the signature. Raises ConfigError too.

    Of arguments that interpolate other keys only the names are checked; their values are checked once the option is composed.
    """
    for place, node in targets_in(file.content, "" if file.text.startswith(GLOBAL) else file.group):
        path, name, plugins = f"{file.path}: {place}", str(node["_target_"]), file.library.plugins
        target = locate(name, path, plugins)
        module = importlib.import_module(name.rpartition(".")[0])
        public = public_name(target)
        require(
            public == name, f"{path}._target_: write {public}, the name that its package exports; inner modules may be renamed"
        )
        listed = target.__name__ in getattr(module, "__all__", ())
        require(
            listed or module.__name__ == UPDATE,
            f"{path}._target_: {module.__name__} has no '{target.__name__}' in __all__; add it",
        )
        node = {key: value for key, value in node.items() if key not in NOT_ARGUMENTS.get(place, ())}
        if "${" not in str(node):
            bind(node, path, plugins=plugins)
            continue
        known = inspect.signature(target).parameters
        for key in node.keys() - {"_target_", *known}:
            raise BrokenContract(f"{path}.{key}: {public} takes no '{key}'{did_you_mean(key, known.keys() - CONTEXT.keys())}")


def targets_in(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the key path and the content of every mapping with a _target_, nested ones included."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from targets_in(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for value in node:
            yield from targets_in(value, path)
