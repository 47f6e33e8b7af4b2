"""docs/methods.md follows from headers and records, and headers name only reference values that a golden test reads."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ltrun.commands.methods import main
from ltrun.config import catalogue
from ltrun.config.catalogue import CHECKED, NOTE, Option, options
from ltrun.config.option import setting
from ltrun.report.methods_page import FAMILIES, WORDS, further_options
from tests.support.cases import METHODS, OPTIONS

REPOSITORY = Path(__file__).parents[2]
RECORDS = "benchmarks/results/reproduction.json"
PRESETS = {preset.name: preset for preset in options("method")}
LISTED: dict[str, Option] = {f"method={name}": preset for name, preset in PRESETS.items()} | {
    f"{group}={option.name}": option for group, option in further_options(list(PRESETS.values()))
}


def test_the_page_is_generated_from_headers_and_records(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(catalogue.SEARCHPATH, raising=False)
    assert main(["--markdown", "--records", str(REPOSITORY / RECORDS)]) == 0
    written = capsys.readouterr().out
    assert written == (REPOSITORY / "docs" / "methods.md").read_text(), (
        "docs/methods.md is out of date; write it anew: make pages"
    )


@pytest.mark.parametrize("name", LISTED)
def test_a_header_states_its_level_of_checks(name: str) -> None:
    said = LISTED[name].checked
    assert CHECKED.fullmatch(NOTE.sub("", said)), f"{name}: checked: {said or 'is missing'}"


@pytest.mark.parametrize("name", [name for name, option in LISTED.items() if option.golden])
def test_the_reference_values_of_a_header_are_read_by_a_golden_test(name: str, golden: Callable[[str], dict[str, Any]]) -> None:
    tests = "".join(path.read_text() for path in (REPOSITORY / "tests" / "golden").rglob("*.py"))
    for file in LISTED[name].golden:
        assert f'"{file}"' in tests, f"{name}: no test in tests/golden reads {file}"
        assert golden(file)["cases"], f"{name}: {file} has no cases"


LEAVES = {  # of the taxonomy -> the slots of their methods
    "head_to_tail_augmentation": {"augmentation", "decoupling"},
    "pre_training": {"transfer"},
    "distillation": {"transfer"},
    "model_transfer": {"transfer", "posthoc", "decoupling"},
    "self_training": {"transfer"},
    "metric_learning": {"representation"},
    "prototype_learning": {"representation"},
    "sequential_training": {"decoupling"},
    "regularization": {"regularization", "decoupling", "representation"},
}


@pytest.mark.parametrize("method", METHODS)
def test_a_preset_stands_in_the_family_of_a_slot_that_it_chooses(method: str) -> None:
    """`plain` is the family of presets that choose nothing. A stage plan chooses slots as well."""

    def chosen(group: str, name: str) -> set[str]:
        slots = {slot: option for slot, option, _ in setting(group, name).choices}
        return {*slots, *(slot for inner in slots.items() for slot in chosen(*inner))}

    family = PRESETS[method].family
    assert family in FAMILIES
    slots = chosen("method", method)
    assert LEAVES.get(family, {family}) & slots or (family == "plain" and not slots)


def test_options_that_the_words_of_the_page_name_exist() -> None:
    words = (REPOSITORY / "ltrun" / "report" / WORDS).read_text()
    found = [
        (group, option)
        for group, listed in re.findall(r"\b([a-z_]+)=\[?([a-z_0-9]+(?:,[a-z_0-9]+)*)", words)
        if group in OPTIONS
        for option in listed.split(",")
    ]
    assert len(found) > 8
    assert [f"{group}={option}" for group, option in found if option not in OPTIONS[group]] == []
