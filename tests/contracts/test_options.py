"""Options of conf/: family = package = group = slot, headers, targets that bind, an option for every part."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest
import yaml

from ltrun.contracts import files, package, subjects
from ltrun.contracts.files import File, targets_in
from ltrun.contracts.package import Package, is_part
from ltrun.taxonomy import GROUPS, SLOTS, STAGE_SLOTS
from tests.support.cases import CONF, LIBRARY, METHODS, OPTIONS, choice
from tests.support.tree import OPTION_FILES, PACKAGES, PART_FAMILIES, YAMLS

LTRUN = Package.opened("ltrun")
# packages besides the families
HOUSE = {
    "commands", "config", "contracts", "recipe", "engine", "tasks", "results", "statistics", "evaluation", "sweep", "report",
    "data", "kernels",
}  # fmt: skip


def name_of(path: Path) -> str:
    return str(path.relative_to(CONF))


def file_of(path: Path) -> File:
    return File(LIBRARY, path)


def all_targets() -> set[str]:
    return {node["_target_"] for path in YAMLS for _, node in targets_in(yaml.safe_load(path.read_text()))}


def test_every_slot_is_a_group_and_every_group_a_folder() -> None:
    assert {*GROUPS, "experiment"} == {path.parent.name for path in OPTION_FILES}
    assert set(STAGE_SLOTS) < set(SLOTS) < set(GROUPS)
    for slot in SLOTS:
        if slot not in ("resampling", "classifier"):  # there is always a sampler and a head
            assert "none" in OPTIONS[slot], f"{slot} cannot be left out"


def test_every_family_of_parts_is_a_group_and_a_slot() -> None:
    assert set(GROUPS) - {"decoupling", "method", "dataset"} == PACKAGES - HOUSE, "a group without a package, or the reverse"


@pytest.mark.parametrize("path", OPTION_FILES, ids=name_of)
def test_every_option_has_a_header(path: Path) -> None:
    files.begins_with_a_sentence(file_of(path))
    files.cites(file_of(path))


@pytest.mark.parametrize("path", OPTION_FILES, ids=name_of)
def test_an_option_writes_below_its_own_group_only(path: Path) -> None:
    files.writes_below_its_group(file_of(path))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_file_holds_override_lines_only(name: str) -> None:
    files.holds_overrides_only(file_of(CONF / "method" / f"{name}.yaml"))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_file_states_its_command_and_expected_accuracy(name: str) -> None:
    files.says_its_command(file_of(CONF / "method" / f"{name}.yaml"))


@pytest.mark.parametrize("dataset", OPTIONS["dataset"])
def test_every_data_set_composes_and_binds(dataset: str) -> None:
    chosen = choice("dataset", dataset)
    assert chosen.composition[1]["dataset"] == dataset
    subjects.is_a_dataset(chosen)
    assert len(chosen.config["dataset"]["prepare"].get("mean", [0])) in (1, 3)  # features of videos have no mean


@pytest.mark.parametrize("path", YAMLS, ids=name_of)
def test_every_target_resolves_and_binds(path: Path) -> None:
    files.targets_bind(file_of(path))
    for _, node in targets_in(file_of(path).content):
        package = node["_target_"].rpartition(".")[0]
        assert package.count(".") == 1 or package == files.UPDATE, f"{node['_target_']} is not named by its family"


def test_every_part_is_exported_and_used_by_an_option() -> None:
    """No option can choose a class that no YAML names, and no import finds a name of `__all__` that does not exist."""
    for contract in package.of_a_package(LTRUN, all_targets(), LIBRARY.folders):
        contract.check()
    of_families = {target for target in all_targets() if target.split(".")[1] in PART_FAMILIES}
    assert of_families - LTRUN.parts.keys() == set(), "these are not in the family's __all__"


def test_every_part_lies_in_the_family_that_exports_it() -> None:
    offered = set()
    for family in [*PART_FAMILIES, "data"]:
        module = importlib.import_module(f"ltrun.{family}")
        assert sorted(module.__all__, key=str.lower) == sorted(set(module.__all__), key=str.lower)
        for name in module.__all__:
            part = getattr(module, name)
            assert inspect.isclass(part) and part.__module__.startswith(f"ltrun.{family}.")
            offered |= {f"ltrun.{family}.{name}"} if is_part(part) else set()
    assert offered == LTRUN.parts.keys()
