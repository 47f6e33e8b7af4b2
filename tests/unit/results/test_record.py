"""Records read back as written; any other file is refused by name."""

import json
import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from ltrun.errors import DataError
from ltrun.results import schema
from ltrun.results.record import RunRecord
from tests.support.recorded import DECLARED, record

# -------------------------------------------------------------------------------------------------------- save and load


def test_a_record_reads_back(tmp_path: Path) -> None:
    one = record("ldam", 3, changes={"reweighting": "drw", "epochs": 3}, counts=[500, 300])
    assert RunRecord.load(one.save(tmp_path)) == one
    assert one.predictors["plain"]["splits"]["test"]["few"] is None


@pytest.mark.parametrize(
    "changes",
    [{"seed": -1}, {"selection": "oracle"}, {"headline": "absent"}, {"fingerprint": "../../x"}, {"choices": {"a": ["b"]}}],
)
def test_a_record_that_would_not_read_back_is_not_written(tmp_path: Path, changes: dict[str, Any]) -> None:
    wrong = RunRecord(**{**vars(record()), **changes})
    with pytest.raises(ValueError, match="is not"):
        wrong.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_truncated_record_is_refused_at_every_byte(file: Path) -> None:
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


def test_a_missing_file_and_a_folder_cannot_be_read(tmp_path: Path) -> None:
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
    ("format", 0), ("format", 4), ("format", True), ("format", None), ("format", "2"), ("task", ""), ("task", []),
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
def test_wrong_types_and_ranges_are_named(file: Path, path: str, value: Any) -> None:
    content = json.loads(file.read_text())
    put(path, value)(content)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=re.escape(str(file))):
        RunRecord.load(file)


@pytest.mark.parametrize("key", [f.name for f in fields(RunRecord) if f.name != "path"])
def test_a_missing_key_is_named(file: Path, key: str) -> None:
    content = json.loads(file.read_text())
    del content[key]
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"'{key}'"):
        RunRecord.load(file)


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_not_finite_are_refused(file: Path, constant: str) -> None:
    text = re.sub(r'"ece": [0-9.e-]+', f'"ece": {constant}', file.read_text(), count=1)
    assert constant in text
    file.write_text(text)
    with pytest.raises(DataError):
        RunRecord.load(file)


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
def test_the_label_has_slots_before_other_changes(changes: dict[str, Any], label: str) -> None:
    assert record("ldam_drw", changes=changes).label == label


# ---------------------------------------------------------------------------------------------- agreement with the task


def test_a_task_measures_the_declared_metrics() -> None:
    import torch

    from ltrun.tasks.single_label import measure
    from ltrun.types import ClassStats

    found = measure(torch.eye(3)[[0, 1, 1]], torch.tensor([0, 1, 1]), ClassStats(torch.tensor([200, 50, 1])))
    assert found.keys() == {*DECLARED, "per_class", "images"}
    assert all(schema._fraction(found[name]) for name in DECLARED)
