"""A record reads back as it was written; anything else is refused by name."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ltrun.errors import DataError
from ltrun.metrics import SINGLE_LABEL, TASKS
from ltrun.report import collect, tables
from ltrun.results import schema
from ltrun.results.address import fingerprint
from ltrun.results.provenance import _commit, provenance
from ltrun.results.record import RunRecord, UnknownRecord
from ltrun.results.upgrade import MOVED
from tests.support.recorded import record

DECLARED = {key: metric for metric in TASKS[SINGLE_LABEL] for key in metric.columns}  # keys in a record, groups included


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return record(predictors={"plain": [], "tta": ["test_inputs"]}, splits=("test", "val")).save(tmp_path / "run")


# -------------------------------------------------------------------------------------------------------- save and load


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    one = record("ldam", 3, changes={"reweighting": "drw", "epochs": 3}, counts=[500, 300])
    assert RunRecord.load(one.save(tmp_path)) == one
    assert one.predictors["plain"]["splits"]["test"]["few"] is None


@pytest.mark.parametrize(
    "changes",
    [{"seed": -1}, {"selection": "oracle"}, {"headline": "absent"}, {"fingerprint": "../../x"}, {"choices": {"a": ["b"]}}],
)
def test_does_not_write_what_it_would_not_read(tmp_path: Path, changes: dict[str, Any]) -> None:
    wrong = RunRecord(**{**vars(record()), **changes})
    with pytest.raises(ValueError, match="is not"):
        wrong.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_truncated_at_every_byte(file: Path) -> None:
    data = file.read_bytes()
    whole = RunRecord.load(file)
    for length in range(len(data)):
        file.write_bytes(data[:length])
        if data[length:].strip():
            with pytest.raises(DataError, match=re.escape(str(file))):
                RunRecord.load(file)
        else:
            assert RunRecord.load(file) == whole


def test_a_replaced_byte_gives_an_error_or_numbers_in_range(file: Path) -> None:
    data = file.read_bytes()
    for place in range(0, len(data), 3):
        for byte in (b"\x00", b"\xff", b"9", b"-", b'"'):
            file.write_bytes(data[:place] + byte + data[place + 1 :])
            try:
                read = RunRecord.load(file)
            except DataError:
                continue
            splits = [split for predictor in read.predictors.values() for split in predictor["splits"].values()]
            assert all(0 <= split[name] <= 1 for split in splits for name in DECLARED if split.get(name) is not None)


FOREIGN: dict[str, bytes] = {
    "empty": b"",
    "not json": b"hello",
    "a list": b"[1, 2]",
    "a number": b"12",
    "another program's": b'{"accuracy": 0.9, "loss": 1.0}',
    "not utf-8": '{"format": 1, "dataset": "caf\u00e9"}'.encode("latin-1"),
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(100),
    "nested": b"[" * 200_000,
    "huge number": b'{"format": ' + b"1" * 10_000 + b"}",
    "half a sequence": b'{"format": 1, "x": "\xe2\x82',
}


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_content_is_named(file: Path, name: str) -> None:
    file.write_bytes(FOREIGN[name])
    with pytest.raises(DataError, match="damaged or not a result of ltrun") as caught:
        RunRecord.load(file)
    assert str(file) in str(caught.value)
    assert len(str(caught.value)) < len(str(file)) + 300


def test_a_huge_file_is_not_read_whole(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "LARGEST", 1000)
    with pytest.raises(DataError, match="larger than"):
        RunRecord.load(file)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "result.json", tmp_path):
        with pytest.raises(DataError, match="cannot be read"):
            RunRecord.load(path)


def put(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: dict[str, Any]) -> None:
        *parents, last = path.split("/")
        node: Any = content
        for key in parents:
            node = node[key]
        node[last] = value

    return change


TEST = "predictors/plain/splits/test"
WRONG: list[tuple[str, Any]] = [
    ("format", 0), ("format", 3), ("format", True), ("format", None), ("format", "2"), ("task", ""), ("task", []),
    ("dataset", ""), ("dataset", 3), ("method", None), ("choices", []),
    ("choices", {"margin": 1}), ("config", "x"), ("changes", None), ("seed", "0"), ("seed", 1.0), ("seed", True), ("seed", -1),
    ("fingerprint", "xyz"), ("fingerprint", 12345678), ("fingerprint", "1234567g"), ("headline", "other"), ("headline", []),
    ("selection", "oracle"), ("selection", {}), ("stages", {}), ("stages", [1]), ("stages", [{"name": "a", "epochs": 1}]),
    ("stages", [{"name": "a", "epochs": 1, "seconds": -1}]), ("provenance", 1), ("predictors", {}), ("predictors", []),
    ("predictors/plain", {}), ("predictors/plain/sees", "test"), ("predictors/plain/splits", {}), ("unknown", 1),
    ("classes/counts", [1]), ("classes/counts", [-1] * 8), ("classes/counts", [1.5] * 8), ("classes/names", [1] * 8),
    ("classes", {"names": [], "counts": []}),
    (f"{TEST}/accuracy", 38.3), (f"{TEST}/accuracy", "0.4"), (f"{TEST}/accuracy", -0.1), (f"{TEST}/accuracy", True),
    (f"{TEST}/accuracy", 0.999999), (f"{TEST}/accuracy", None), (f"{TEST}/many", []), (f"{TEST}/ece", 1e300),
    (f"{TEST}/per_class", [0.1]), (f"{TEST}/per_class", [2.0] * 8), (f"{TEST}/per_class", None), (f"{TEST}/images", -1),
    (f"{TEST}/images", 0.5), (TEST, None), (TEST, {}), (TEST, {"accuracy": 0.5}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "value"), WRONG)
def test_wrong_types_and_ranges(file: Path, path: str, value: Any) -> None:
    content = json.loads(file.read_text())
    put(path, value)(content)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=re.escape(str(file))):
        RunRecord.load(file)


@pytest.mark.parametrize("key", [f.name for f in fields(RunRecord)])
def test_a_missing_key_is_named(file: Path, key: str) -> None:
    content = json.loads(file.read_text())
    del content[key]
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"'{key}'"):
        RunRecord.load(file)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite(file: Path, constant: str) -> None:
    text = re.sub(r'"ece": [0-9.e-]+', f'"ece": {constant}', file.read_text(), count=1)
    assert constant in text
    file.write_text(text)
    with pytest.raises(DataError):
        RunRecord.load(file)


# ---------------------------------------------------------------------------------------------------- other versions


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
def test_what_is_not_finite_is_refused_in_an_unknown_metric_too(file: Path, written: str) -> None:
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
    ("key", "value", "words"), [("task", "detection", "task is 'detection'"), ("format", 3, "format is 3")]
)
def test_a_record_of_a_later_version_is_refused_as_such(file: Path, key: str, value: Any, words: str) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(UnknownRecord, match=f"{re.escape(str(file))}.*{words}.*update ltrun"):
        RunRecord.load(file)
    _, problems = collect([file.parent])
    assert [problem.kind for problem in problems] == ["unknown"]


def as_format_1(run: RunRecord, file: Path) -> dict[str, Any]:
    """The content of result.json as the version before wrote it, with the classes where that had them."""
    content = json.loads(run.save(file.parent).read_text())
    del content["task"]
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
    assert (run.format, run.task, run.config["network"]["_target_"]) == (2, "single_label", "ltrun.network.ResNetCIFAR")
    assert run.fingerprint == fingerprint(run.config)
    assert split_of(run)["accuracy"] == 0.3827 and split_of(run, "ncm")["few"] == pytest.approx(0.207)


# ---------------------------------------------------------------------------------------------------------------- label


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "ldam_drw"),
        ({"epochs": 3, "reweighting": "none"}, "ldam_drw [reweighting=none, epochs=3]"),
        ({"reweighting": "none", "epochs": 3}, "ldam_drw [reweighting=none, epochs=3]"),
        ({"margin": "ldam", "resampling": "class_balanced"}, "ldam_drw [resampling=class_balanced, margin=ldam]"),
        ({"dataset.imbalance": 50, "margin.max_margin": 0.5}, "ldam_drw [dataset.imbalance=50, margin.max_margin=0.5]"),
        ({"a": None, "b": True, "c": ["x", "y"]}, 'ldam_drw [a=null, b=true, c=["x","y"]]'),
        ({"runtime.device": "cpu", "seed": 3}, "ldam_drw"),
        (
            {"dataset.imbalance": 50.0, "a": 5e1, "b": [1.0, 2.5, {"c": 3.0}], "d": 1.0, "e": True, "f": "1.0"},
            'ldam_drw [a=50, b=[1,2.5,{"c":3}], d=1, dataset.imbalance=50, e=true, f=1.0]',
        ),
    ],
)
def test_label(changes: dict[str, Any], label: str) -> None:
    assert record("ldam_drw", changes=changes).label == label


# ----------------------------------------------------------------------------------------------------------- provenance


def test_provenance_says_where_numbers_came_from_and_not_on_whose_machine() -> None:
    import getpass
    import socket

    found = provenance()
    assert {"ltrun", "python", "torch", "numpy"} <= found["versions"].keys()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["date"])
    values = json.dumps(found)
    assert f'"{socket.gethostname()}"' not in values
    assert f'"{getpass.getuser()}"' not in values


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_commit_of_a_checkout_only(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "ltrun").mkdir()
    (tmp_path / "ltrun" / "a.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert _commit(tmp_path.resolve()) == {"commit": commit, "dirty": False}
    (tmp_path / "ltrun" / "a.py").write_text("2")
    assert _commit(tmp_path.resolve()) == {"commit": commit, "dirty": True}
    assert _commit((tmp_path / "ltrun").resolve()) == {}  # inside someone's repository is not being it


# ---------------------------------------------------------------------------------------------- agreement with the task


def test_what_a_task_measures_is_what_is_declared() -> None:
    import torch

    from ltrun.tasks.single_label import measure
    from ltrun.types import ClassStats

    found = measure(torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 1]), ClassStats(torch.tensor([200, 50, 1])))
    assert found.keys() == {*DECLARED, "per_class", "images"}
    assert all(schema._fraction(found[name]) for name in DECLARED)
