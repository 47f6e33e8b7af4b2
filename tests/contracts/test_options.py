"""The files of options keep their promise: family = package = group = slot, headers, targets that bind."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ltrun import parts
from ltrun.config.bind import bind
from ltrun.parts import Part
from ltrun.taxonomy import DATASET_KEYS, GROUPS, SLOTS, STAGE_SLOTS
from tests.support.cases import CONF, METHODS, OPTIONS, composed
from tests.support.tree import OPTION_FILES, PACKAGE, PACKAGES, PART_FAMILIES, YAMLS

HOUSE = {"commands", "config", "recipe", "engine", "tasks", "results", "sweep", "report", "data"}  # packages that are no family


def name_of(path: Path) -> str:
    return str(path.relative_to(CONF))


def header(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return [line.removeprefix("#").strip() for line in lines[:end]]


def targets_in(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield node
        for value in node.values():
            yield from targets_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from targets_in(value)


def all_targets() -> set[str]:
    return {node["_target_"] for path in YAMLS for node in targets_in(yaml.safe_load(path.read_text()))}


def test_every_slot_is_a_group_and_every_group_a_folder() -> None:
    assert set(GROUPS) == {path.parent.name for path in OPTION_FILES}
    assert set(STAGE_SLOTS) < set(SLOTS) < set(GROUPS)
    for slot in SLOTS:
        if slot not in ("resampling", "classifier"):  # there is always a sampler and a head
            assert "none" in OPTIONS[slot], f"{slot} cannot be left out"


def test_every_family_of_parts_is_a_group_and_a_slot() -> None:
    assert set(GROUPS) - {"decoupling", "method", "dataset"} == PACKAGES - HOUSE, "a group without a package, or the reverse"


@pytest.mark.parametrize("path", OPTION_FILES, ids=name_of)
def test_every_option_has_a_header(path: Path) -> None:
    lines = [line for line in header(path) if line and not line.startswith(("@package", "name:"))]
    assert lines, "no header"
    assert not lines[0][0].islower() and lines[0].endswith("."), f"not a sentence: {lines[0]}"
    assert len(lines[0]) < 128
    if path.stem != "none":
        assert len(lines) > 1, "no citation"
        cited = re.search(r"\b(1[89]|20)\d\d\b", lines[1]) or lines[1].lower().startswith("no ")
        assert cited, f"neither a citation with its year nor 'no ...': {lines[1]}"
        for number in re.findall(r"arXiv (\S+)", lines[1]):
            assert re.fullmatch(r"\d{4}\.\d{4,5}[,;:)]?", number), f"not an arXiv number: {number}"


@pytest.mark.parametrize("path", OPTION_FILES, ids=name_of)
def test_an_option_writes_below_its_own_group_only(path: Path) -> None:
    """Numbers of one slot in the file of another would survive when that slot is set to something else."""
    content, group = yaml.safe_load(path.read_text()) or {}, path.parent.name
    is_global = "@package _global_" in path.read_text().splitlines()[0]
    may = {"method": {"defaults"}, "decoupling": {"defaults", "plan", "stages"}}
    if group == "dataset":
        assert is_global and "dataset" in content
        assert set(content) <= {"defaults", "dataset", "epochs", "batch_size", "runtime", "evaluation"}
    elif group in may:
        assert is_global and set(content) <= may[group]
    else:
        assert not is_global and "defaults" not in content


@pytest.mark.parametrize("name", METHODS)
def test_a_method_file_holds_override_lines_only(name: str) -> None:
    path = CONF / "method" / f"{name}.yaml"
    lines, content = path.read_text().splitlines(), yaml.safe_load(path.read_text())
    assert lines[0] == "# @package _global_"
    assert set(content) == {"defaults"}
    for entry in content["defaults"]:
        (key, option) = next(iter(entry.items()))
        assert len(entry) == 1
        match = re.fullmatch(r"override /(\w+)", key)
        assert match and match[1] in GROUPS, f"not an override line: {key}"
        assert option in OPTIONS[match[1]], f"{match[1]} has no option {option}"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_file_says_its_command_and_what_to_expect(name: str) -> None:
    said = header(CONF / "method" / f"{name}.yaml")
    commands = [line for line in said if line.startswith("command: ")]
    expected = [line for line in said if line.startswith("expected: ")]
    assert len(commands) == 1 and len(expected) == 1
    assert re.search(r"\d\d\.\d|nothing published", expected[0])
    program, *overrides = commands[0].removeprefix("command: ").split()
    assert program == "ltrun" and f"method={name}" in overrides
    for override in overrides:
        group, option = override.split("=")
        assert option in OPTIONS[group], f"the command names {override}, which there is not"


@pytest.mark.parametrize("dataset", OPTIONS["dataset"])
def test_every_data_set_composes_and_binds(dataset: str) -> None:
    from tests.support.cases import bound

    config, choices = composed(f"dataset={dataset}")
    assert config["dataset"]["name"] == dataset == choices["dataset"]
    bound((config, choices))
    prepare = config["dataset"]["prepare"]
    assert len(prepare["mean"]) == len(prepare["std"]) in (1, 3)


@pytest.mark.parametrize("path", YAMLS, ids=name_of)
def test_every_target_resolves_and_binds(path: Path) -> None:
    """Arguments that interpolate other keys are left to the tests that compose."""
    for node in targets_in(yaml.safe_load(path.read_text())):
        package, _, name = node["_target_"].rpartition(".")
        module = importlib.import_module(package)
        assert name in getattr(module, "__all__", [name]), f"{node['_target_']} is not public"
        assert package.count(".") == 1 or package == "ltrun.engine.update", f"{node['_target_']} is not named by its family"
        if package == "ltrun.data":
            node = {k: v for k, v in node.items() if k not in DATASET_KEYS}
        plain = {k: v for k, v in node.items() if not (isinstance(v, str) and "${" in v) and not list(targets_in(v))}
        nested = {k: v for k, v in node.items() if list(targets_in(v))}
        signature = inspect.signature(getattr(module, name)).parameters
        assert set(node) - {"_target_"} <= set(signature)
        if len(plain) + len(nested) == len(node) and "${" not in str(nested):
            bind(node, name_of(path))


def test_every_part_is_used_by_an_option_and_every_option_uses_a_part() -> None:
    """A class that no YAML names cannot be composed; a name in __all__ that does not exist is a lie."""
    offered = set()
    for family in [*PART_FAMILIES, "data"]:
        module = importlib.import_module(f"ltrun.{family}")
        for name in module.__all__:
            part = getattr(module, name)
            assert inspect.isclass(part)
            if issubclass(part, (Part, parts.Backbone)):
                offered.add(f"ltrun.{family}.{name}")
    # the network that fits where no option brings its own; the update is a role without a group so far
    named = all_targets() | {"ltrun.network.Plain"}
    assert offered - named == set(), "no option uses these"
    of_families = {t for t in named if t.split(".")[1] in set(PART_FAMILIES)}
    assert of_families - offered == set(), "these are not in the family's __all__"


def test_every_part_lies_in_the_family_that_exports_it() -> None:
    for family in PART_FAMILIES:
        module = importlib.import_module(f"ltrun.{family}")
        assert sorted(module.__all__, key=str.lower) == sorted(set(module.__all__), key=str.lower)
        for name in module.__all__:
            assert getattr(module, name).__module__.startswith(f"ltrun.{family}.")
        for info in (PACKAGE / family).glob("*.py"):
            inner = importlib.import_module(f"ltrun.{family}.{info.stem}" if info.stem != "__init__" else f"ltrun.{family}")
            for name, value in vars(inner).items():
                if inspect.isclass(value) and issubclass(value, Part) and value.__module__ == inner.__name__:
                    assert name in module.__all__, f"{family}/{info.name}: {name} is not exported"
