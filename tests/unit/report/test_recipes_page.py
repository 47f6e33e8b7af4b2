"""Tables of recipes: training in words, published numbers, own runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from ltrun.config.compose import compose_job
from ltrun.config.presets import composing
from ltrun.config.published import chosen, recipes, values
from ltrun.config.settings import leaves
from ltrun.report.preset_runs import states
from ltrun.report.recipes_page import EXPECTED, NOT_YET, recipe_tables, schedule_words, training
from tests.support.files import write_files
from tests.support.recorded import record

FILES = {
    "on/method/erm@digits_lt.yaml": "# @package _global_\n# Plain.\n# No publication: a test\n"
    "# expected: 90.5 (95.0, 91.2, 80.3), ResNet-8, 7 epochs; a test\ndefaults: []\n\nepochs: 7\n",
    "on/method/crt@digits_lt.yaml": "# @package _global_\n# Twice.\n# No publication: a test\n"
    "# expected: no number at hand, ResNet-8, 7 and 2 epochs; nobody\ndefaults:\n  - _self_\n"
    "  - override /optimizer: ride\n\nepochs: 20\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = write_files(tmp_path_factory.mktemp("options"), FILES)
    with composing([folder]):
        yield folder


def rows(page: str) -> dict[str, list[str]]:
    """Returns preset -> the other cells of its row in the table of digits."""
    table = page.partition("### Digits-LT\n")[2].partition("###")[0]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table.splitlines() if line.startswith("| ")]
    return {first.partition("method=")[2].partition(" ")[0]: others for first, *others in cells if "`" in first}


def test_a_row_has_recipe_published_number_and_state(own: Path) -> None:
    found = rows(recipe_tables({}, [own]))
    assert found["erm"] == [
        "ResNet-8, 7 epochs, batches of 32, rate 0.1, weight decay 0.0002, times 0.1 from epoch 5, 0.01 from epoch 6",
        "90.5<br>95.0 / 91.2 / 80.3<br>ResNet-8, 7 epochs; a test",
        NOT_YET,
    ]
    assert found["crt"][0].endswith("; then 3 epochs of the classifier with resampling=class_balanced")
    assert "rate 0.1, weight decay 0.0005, Nesterov momentum" in found["crt"][0]
    assert found["crt"][1] == "no number at hand<br>ResNet-8, 7 and 2 epochs; nobody"


def test_runs_of_a_recipe_fill_its_state_and_runs_of_another_do_not(own: Path) -> None:
    job, longer = (compose_job(["method=erm", "dataset=digits_lt", *more]) for more in ([], ["epochs=9"]))
    run = replace(record(dataset="digits_lt", method="erm", predictors={"plain": []}), config=job.config, changes=job.changes)
    pairs = [("erm", "digits_lt"), ("crt", "digits_lt")]
    other = replace(run, config=longer.config, changes=longer.changes)
    assert rows(recipe_tables(states([run], pairs), [own]))["erm"][2].endswith("(n=1)")
    assert states([other], pairs) == {} and rows(recipe_tables({}, [own]))["erm"][2] == NOT_YET


def test_words_of_schedules_and_rates() -> None:
    assert schedule_words({"warmup": 0.0}, 90) == "cosine"
    assert schedule_words({"warmup": 0.025}, 400) == "cosine after a warm-up of 10 epochs"
    steps = {"milestones": [0.6, 0.8], "factors": [0.1, 0.01], "warmup": 0.05}
    assert schedule_words(steps, 100) == "times 0.1 from epoch 60, 0.01 from epoch 80 after a warm-up of 5 epochs"
    words = training("erm", "places_lt")
    assert words.startswith("ResNet-152 with the weights IMAGENET1K_V1, 30 epochs, batches of 256, rate 0.1 (0.01 outside")


@pytest.mark.parametrize(("method", "dataset"), sorted(recipes()))
def test_what_is_read_from_files_is_what_hydra_composes(method: str, dataset: str) -> None:
    with composing():
        job = compose_job([f"method={method}", f"dataset={dataset}"])
    options = chosen(method, dataset)
    assert {group: options[group] for group in job.choices} == dict(job.choices)
    for group in ("network", "optimizer", "schedule", "ensemble"):
        plain = [(key, value) for key, value in leaves(values(group, options[group], dataset)) if "${" not in str(value)]
        composed = dict(leaves(job.config[group]))
        assert {key: composed.get(key) for key, _ in plain} == dict(plain)
    words = training(method, dataset)
    assert (
        f", {job.config['epochs']} epochs, batches of {job.config['batch_size']}, rate {job.config['optimizer']['lr']:g}"
        in words
    )


@pytest.mark.parametrize(
    "text", ["58.8, ResNeXt-50", "58.8 (1, 2, 3), ResNet-50, 90 epochs; x", "58.8 ResNet-50, 90 epochs; x"]
)
def test_a_number_without_network_epochs_and_source_is_no_published_number(text: str) -> None:
    assert not EXPECTED.fullmatch(text)
