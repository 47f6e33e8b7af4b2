"""Records of other versions: unknown metrics are kept, format 1 is read, later formats are refused as such."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ltrun.errors import DataError
from ltrun.metrics import SINGLE_LABEL, TASKS
from ltrun.report import collect, tables
from ltrun.results.address import fingerprint
from ltrun.results.record import RunRecord, UnknownRecord
from ltrun.results.upgrade import MOVED
from tests.support.recorded import DECLARED, record


def split_of(run: RunRecord, predictor: str = "plain", split: str = "test") -> dict[str, Any]:
    return run.predictors[predictor]["splits"][split]


@pytest.mark.parametrize("value", [0.25, 12, -3.5, None, "high", [0.1, None], {"at_1": 0.5}, True])
@pytest.mark.parametrize(("predictor", "split"), [("plain", "test"), ("tta", "val")])
def test_a_metric_that_this_version_does_not_know_is_kept(tmp_path: Path, value: Any, predictor: str, split: str) -> None:
    run = record(predictors={"plain": [], "tta": []}, splits=("test", "val"))
    split_of(run, predictor, split)["geometric_mean"] = value
    assert split_of(RunRecord.load(run.save(tmp_path)), predictor, split)["geometric_mean"] == value
    assert RunRecord.load(RunRecord.load(tmp_path / "result.json").save(tmp_path)) == run


@pytest.mark.parametrize("written", ["NaN", "Infinity", "1e999", "[0.5, -1e999]", '{"at_1": 1e999}'])
def test_unknown_metrics_must_be_finite_too(file: Path, written: str) -> None:
    file.write_text(file.read_text().replace('"images": 800', f'"images": 800, "new": {written}', 1))
    with pytest.raises(DataError, match="damaged"):
        RunRecord.load(file)


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_only_the_first_metric_of_a_task_is_required(file: Path, name: str) -> None:
    content = json.loads(file.read_text())
    del content["predictors"]["plain"]["splits"]["test"][name]
    file.write_text(json.dumps(content))
    if name == TASKS[SINGLE_LABEL][0].name:
        with pytest.raises(DataError, match="a mapping with accuracy, per_class, images"):
            RunRecord.load(file)
    else:
        assert name not in split_of(RunRecord.load(file))


@pytest.mark.parametrize(
    ("key", "value", "words"), [("task", "detection", "task is 'detection'"), ("format", 4, "format is 4")]
)
def test_a_record_of_a_later_version_is_refused_as_such(file: Path, key: str, value: Any, words: str) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(UnknownRecord, match=f"{re.escape(str(file))}.*{words}.*update ltrun"):
        RunRecord.load(file)
    _, problems = collect([file.parent])
    assert [problem.kind for problem in problems] == ["unknown"]


def as_format_1(run: RunRecord, file: Path) -> dict[str, Any]:
    """Returns the content of result.json in format 1, with the classes in their old packages."""
    content = json.loads(run.save(file.parent).read_text())
    for later in ("task", "command", "data"):
        del content[later]
    content["format"], content["fingerprint"] = 1, "01234567"
    old = {new: old for old, new in MOVED.items()}
    config = json.dumps(content["config"])
    for new in old:
        config = config.replace(f'"{new}', f'"{old[new]}')
    content["config"] = json.loads(config)
    file.write_text(json.dumps(content))
    return content


CLASSES = {
    "network": {"_target_": "ltrun.network.ResNetCIFAR", "depth": 8},
    "optimizer": {"_target_": "ltrun.optimizer.SGD", "lr": 0.1},
    "schedule": {"_target_": "ltrun.schedule.MultiStep", "milestones": [0.8, 0.9]},
    "stages": {"train": {"update": {"_target_": "ltrun.engine.update.Backward"}}},
    "plugins": ["ltrun.networks.mine"],
    "lists": [{"part": {"_target_": "ltrun.margin.LDAM"}}, {"_target_": "ltrun.network.Plain"}],
}


def test_a_record_of_format_1_becomes_one_of_format_2(tmp_path: Path) -> None:
    now = record(config=CLASSES)
    before = as_format_1(now, tmp_path / "result.json")
    assert before["config"]["network"]["_target_"] == "ltrun.networks.ResNetCIFAR"
    assert before["config"]["stages"]["train"]["update"]["_target_"] == "ltrun.update.Backward"
    assert before["config"]["lists"][1]["_target_"] == "ltrun.networks.Plain"
    assert RunRecord.load(tmp_path / "result.json") == now


def test_runs_of_both_formats_share_a_row(tmp_path: Path) -> None:
    old, new = (record(seed=seed, config=CLASSES) for seed in (0, 1))
    assert as_format_1(old, tmp_path / "old" / "result.json")["fingerprint"] != new.fingerprint
    new.save(tmp_path / "new")
    found, problems = collect([tmp_path])
    (table,) = tables(found)
    assert problems == [] and table.notes == () and [row.n for row in table.rows] == [2]


def test_a_class_that_was_named_in_an_override_moves_too(tmp_path: Path) -> None:
    now = record(changes={"network._target_": "ltrun.networks.Plain", "network": "ltrun.networks.Plain"})
    as_format_1(now, tmp_path / "result.json")
    changes = RunRecord.load(tmp_path / "result.json").changes
    assert changes == {"network._target_": "ltrun.network.Plain", "network": "ltrun.networks.Plain"}


@pytest.mark.parametrize("value", ["1e999", "[-1e999]"])
def test_a_configuration_of_format_1_without_a_fingerprint_is_damaged(tmp_path: Path, value: str) -> None:
    content = as_format_1(record(), tmp_path / "result.json")
    (tmp_path / "result.json").write_text(json.dumps(content).replace('"lr": 0.1', f'"lr": {value}'))
    with pytest.raises(DataError, match=r"damaged.*optimizer\.lr"):
        RunRecord.load(tmp_path / "result.json")


def test_a_record_of_format_1_has_no_task(tmp_path: Path) -> None:
    content = as_format_1(record(), tmp_path / "result.json")
    (tmp_path / "result.json").write_text(json.dumps(content | {"task": "single_label"}))
    with pytest.raises(DataError, match="'task' is unknown"):
        RunRecord.load(tmp_path / "result.json")


def test_a_record_that_an_earlier_version_wrote_is_read(shared: Path) -> None:
    run = RunRecord.load(shared / "results" / "erm-cifar100_lt-seed0" / "result.json")
    assert (run.command, run.data) == ([], {})
    assert (run.format, run.task, run.config["network"]["_target_"]) == (3, "single_label", "ltrun.network.ResNetCIFAR")
    assert run.fingerprint == fingerprint(run.config)
    assert split_of(run)["accuracy"] == 0.3827 and split_of(run, "ncm")["few"] == pytest.approx(0.207)
