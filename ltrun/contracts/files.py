"""What the file of an option keeps to: its header, its own group, override lines in presets, classes that it may name."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from ltrun.config import catalogue
from ltrun.config.bind import bind, locate, public_name
from ltrun.contracts.contract import BrokenContract, Contract, require
from ltrun.contracts.library import Library
from ltrun.errors import did_you_mean
from ltrun.parts import CONTEXT
from ltrun.taxonomy import DATASET_KEYS, GROUPS

GLOBAL = "# @package _global_"
UPDATE = "ltrun.engine.update"  # classes of a role without a group
LONGEST = 128  # characters of a header's sentence
MAY = {"method": {"defaults"}, "decoupling": {"defaults", "plan", "stages"}}
OF_A_DATASET = {"defaults", "dataset", "epochs", "batch_size", "runtime", "evaluation"}


@dataclass(frozen=True)
class File:
    """A YAML of an option. library: what its entries may name."""

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
        return yaml.safe_load(self.text) or {}

    @property
    def header(self) -> list[str]:
        """Its leading comment, a line each, without the #."""
        lines = self.text.splitlines()
        end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
        return [line.removeprefix("#").strip() for line in lines[:end]]

    @property
    def prose(self) -> list[str]:
        """The lines of the header that are no keys of it."""
        return [line for line in self.header if line and not line.startswith(("@package", *catalogue.KEYS))]


def of_a_file(file: File) -> Iterator[Contract]:
    """The contracts of an option's file."""
    yield from (
        Contract(name, lambda check=check: check(file))  # type: ignore[misc]
        for name, check in (
            ("the file begins with a sentence of what it does", begins_with_a_sentence),
            ("its second line cites the paper, with its year", cites),
            ("the file writes below its own group only", writes_below_its_group),
        )
    )
    if file.group == "method":
        yield Contract("a preset says its command and what to expect", lambda: says_its_command(file))
        yield Contract("a preset holds override lines only", lambda: holds_overrides_only(file), decisive=True)
    else:
        name = "each _target_ is a public class whose signature the arguments fit"
        yield Contract(name, lambda: targets_bind(file), decisive=True)


def begins_with_a_sentence(file: File) -> None:
    """Raises BrokenContract."""
    lines, first = file.prose, f"{file.path}: begin with a comment of one sentence, what the option does to training"
    require(lines, f"{first}, as in '# Divides the logits by a temperature that grows with rarity.'")
    require(
        not lines[0][0].islower() and lines[0].endswith("."), f"{first}; '{lines[0]}' has no capital letter or no full stop"
    )
    require(len(lines[0]) < LONGEST, f"{first}, in less than {LONGEST} characters; this one has {len(lines[0])}")


def cites(file: File) -> None:
    """Raises BrokenContract."""
    if file.path.stem == "none":
        return
    way = "cite the paper with its year, '# Ye et al., 2020, arXiv 2001.01385', or write '# no citation: why'"
    require(len(file.prose) > 1, f"{file.path} has no second line of comment; {way}")
    said = file.prose[1]
    cited = re.search(r"\b(1[89]|20)\d\d\b", re.sub(r"arXiv \S+", "", said)) or said.lower().startswith("no ")
    require(cited, f"{file.path}: '{said}' has neither a year nor begins with 'no ...:'; {way}")
    for number in re.findall(r"arXiv (\S+)", said):
        well = re.fullmatch(r"\d{4}\.\d{4,5}[,;:)]?", number)
        require(well, f"{file.path}: '{number}' is no arXiv number, four digits, a point and four or five; mend it")


def writes_below_its_group(file: File) -> None:
    """Numbers of one slot in the file of another would survive when that slot is set to something else.

    Raises BrokenContract.
    """
    is_global, path, group = file.text.startswith(GLOBAL), file.path, file.group
    keys = set(file.content) if isinstance(file.content, dict) else set()
    if group != "dataset" and group not in MAY:
        require(not is_global, f"{path}: an option of {group} writes below its own group; remove the line '{GLOBAL}'")
        require("defaults" not in keys, f"{path}: an option of {group} chooses no others; move 'defaults' to a method/*.yaml")
        return
    require(is_global, f"{path}: the first line of a {group} is '{GLOBAL}'; add it")
    if group == "dataset":
        require("dataset" in keys, f"{path}: the data set itself lies below the key 'dataset'; add it, as in digits_lt.yaml")
    more = keys - (OF_A_DATASET if group == "dataset" else MAY[group])
    require(
        not more,
        f"{path}: '{min(more, default='')}' does not belong into a {group}, where it would outlive another option; move it "
        "into the file of the option that it is about",
    )


def holds_overrides_only(file: File) -> None:
    """Raises BrokenContract."""
    options, path, entries = file.library.options, file.path, file.content.get("defaults")
    way = "write '- override /GROUP: OPTION'"
    require(isinstance(entries, list), f"{path} has no defaults; {way} below 'defaults:' for each slot of the method")
    for entry in entries:
        key, option = next(iter(entry.items())) if isinstance(entry, dict) and len(entry) == 1 else (str(entry), None)
        match = re.fullmatch(r"override /(\w+)", str(key))
        require(match, f"{path}: '{key}' in its defaults is no override line; {way}")
        group = match[1] if match else ""
        require(group in GROUPS, f"{path}: there is no group '{group}'{did_you_mean(group, GROUPS)}")
        for name in option if isinstance(option, list) else [option]:
            near = did_you_mean(str(name), options[group])
            require(name in options[group], f"{path}: {group} has no option '{name}'{near}")


def says_its_command(file: File) -> None:
    """Raises BrokenContract."""
    path, name = file.path, file.path.stem
    said = {key: [line for line in file.header if line.startswith(f"{key}: ")] for key in ("command", "expected")}
    example = {"command": f"# command: ltrun method={name} dataset=cifar100_lt", "expected": "# expected: nothing published"}
    for key, lines in said.items():
        require(len(lines) == 1, f"{path}: its header has {len(lines) or 'no'} lines '{key}:'; write one, '{example[key]}'")
    (command,), (expected,) = said["command"], said["expected"]
    number = re.search(r"\d\d\.\d|nothing published", expected)
    require(number, f"{path}: '{expected}' states no accuracy such as 42.0; give the published number, or 'nothing published'")
    program, *words = command.removeprefix("command: ").split()
    right = program == "ltrun" and f"method={name}" in words
    require(right, f"{path}: '{command}' does not train this preset; write '{example['command']}'")
    options = file.library.options
    for word in words:
        group, _, option = word.partition("=")
        if file.library.plugins and (group in ("plugins", "--config-dir") or "=" not in word):
            continue
        require(group in options, f"{path}: its command names {word}, and {group} is no group; leave it out")
        near = did_you_mean(option, options.get(group, ()))
        require(option in options[group], f"{path}: its command names {word}, and {group} has no such option{near}")


def targets_bind(file: File) -> None:
    """Arguments that interpolate other keys are left to the contracts that compose. Raises ConfigError, BrokenContract."""
    for place, node in targets_in(file.content, "" if file.text.startswith(GLOBAL) else file.group):
        path, name, plugins = f"{file.path}: {place}", str(node["_target_"]), file.library.plugins
        target = locate(name, path, plugins)
        module = importlib.import_module(name.rpartition(".")[0])
        public = public_name(target)
        require(public == name, f"{path}._target_: write {public}, as its package exports it; modules within may be renamed")
        listed = target.__name__ in getattr(module, "__all__", ())
        require(
            listed or module.__name__ == UPDATE,
            f"{path}._target_: {module.__name__} has no '{target.__name__}' in __all__; add it",
        )
        if place == "dataset":
            node = {key: value for key, value in node.items() if key not in DATASET_KEYS}
        if "${" not in str(node):
            bind(node, path, plugins=plugins)
            continue
        known = inspect.signature(target).parameters
        for key in node.keys() - {"_target_", *known}:
            raise BrokenContract(f"{path}.{key}: {public} takes no '{key}'{did_you_mean(key, known.keys() - CONTEXT.keys())}")


def targets_in(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every mapping with a _target_ and its key path, nested ones included."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, value in node.items():
            yield from targets_in(value, f"{path}.{key}" if path else str(key))
    elif isinstance(node, list):
        for value in node:
            yield from targets_in(value, path)
