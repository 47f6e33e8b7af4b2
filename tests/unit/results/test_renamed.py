"""Renamed arguments: the old name is understood on the command line and in records, and runs keep their addresses."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ltrun.config.words import for_hydra
from ltrun.report.facts import fact
from ltrun.results.address import fingerprint
from ltrun.results.record import RunRecord
from ltrun.results.renamed import with_tables, with_todays_names
from tests.support.recorded import record

OLD: dict[str, Any] = {"_target_": "ltrun.data.ImageFolder", "root": "photos", "validation_fraction": 0.1}
NEW: dict[str, Any] = {"_target_": "ltrun.data.ImageFolder", "root": "photos", "validation": 0.1}
MINE: dict[str, Any] = {"_target_": "mine.Mine", "validation_fraction": 0.1}


def mark(dataset: dict[str, Any]) -> str:
    return fingerprint({"dataset": dataset})


def test_both_names_have_one_address() -> None:
    assert mark(OLD) == mark(NEW) == "1945a4de"
    assert mark(NEW | {"validation": 0.2}) != mark(NEW)
    assert mark(NEW | {"validation": 0}) == mark({"_target_": "ltrun.data.ImageFolder", "root": "photos"})
    assert mark(MINE) != mark({"_target_": "mine.Mine", "validation": 0.1})


def test_a_record_with_the_old_name_is_read_with_the_new_one(tmp_path: Path) -> None:
    one = record(changes={"dataset.validation_fraction": 0.1})
    config = {**one.config, "dataset": OLD}
    words = ["dataset=image_folder", "dataset.validation_fraction=0.1"]
    before = RunRecord(**{**vars(one), "config": config, "command": words, "fingerprint": fingerprint(config)})
    read = RunRecord.load(before.save(tmp_path))
    assert read.config["dataset"]["validation"] == 0.1
    assert "validation_fraction" not in read.config["dataset"]
    assert read.changes == {"dataset.validation": 0.1}
    assert read.command == ["dataset=image_folder", "dataset.validation=0.1"]
    assert read.fingerprint == fingerprint(read.config)
    assert fact(read, "dataset.validation") == "0.1"


def test_a_record_without_the_argument_has_the_value_that_means_none() -> None:
    config = {key: value for key, value in NEW.items() if key != "validation"}
    assert fact(RunRecord(**{**vars(record()), "config": {"dataset": config}}), "dataset.validation") == "0"


def test_a_data_set_of_another_package_keeps_its_names() -> None:
    content = asdict(record(changes={"dataset.validation_fraction": 0.1}))
    content["config"] = {**content["config"], "dataset": MINE}
    assert with_todays_names(content) == content


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("dataset.validation_fraction=0.1", "dataset.validation=0.1"),
        ("+dataset.validation_fraction=0", "+dataset.validation=0"),
    ],
)
def test_the_old_name_on_the_command_line_is_understood_and_said_once(
    typed: str, read: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert for_hydra([typed, "seed=1"]) == [read, "seed=1"]
    assert capsys.readouterr().err == "dataset.validation_fraction is called dataset.validation now, and means the same\n"
    assert for_hydra(["dataset.validation=0.2"]) == ["dataset.validation=0.2"]
    assert capsys.readouterr().err == ""


def test_an_augmentation_recorded_before_tables_had_names_has_its_table() -> None:
    old = {"_target_": "ltrun.augmentation.AutoAugment", "fill": 3}
    views = {"streams": [{"augments": {"one": old, "other": {"_target_": "ltrun.augmentation.RandAugment"}}}]}
    found = with_tables(views)["streams"][0]["augments"]
    assert (found["one"], found["other"]["table"]) == ({**old, "table": "torchvision"}, "timm")
    assert with_tables({**old, "table": "long_tailed"})["table"] == "long_tailed" and with_tables(OLD) == OLD
