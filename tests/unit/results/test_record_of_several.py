"""Records of several labels per image: what they need, and damaged ones, which are refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from ltrun.errors import DataError
from ltrun.results.record import RunRecord
from tests.support.predicted import save_run, several_labels

LABELS, SCORES = several_labels(40, 4)
LABELS[:, 3] = False


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return save_run(tmp_path, LABELS, {"plain": SCORES}, [120, 40, 30, 5]) / "result.json"


def test_a_record_reads_back(file: Path) -> None:
    found = RunRecord.load(file)
    metrics = found.predictors["plain"]["splits"]["test"]
    assert found.task == "multi_label" and metrics["positives"] == LABELS.sum(0).tolist()
    assert metrics["per_class"][3] is None and metrics["per_class_recall"][3] is None and metrics["classes"] == 3
    assert RunRecord.load(found.save(file.parent)) == found


def test_training_images_are_those_of_the_data_not_the_sum_of_the_classes(file: Path, tmp_path: Path) -> None:
    assert RunRecord.load(file).training_images is None
    content = json.loads(file.read_text())
    hex16 = dict.fromkeys(("labels", "files", "sizes", "pixels"), "0" * 16)
    content["data"] = {"digest": "0" * 16, "classes": "0" * 16, "splits": {"train": {"images": 150, **hex16}}}
    file.write_text(json.dumps(content))
    assert RunRecord.load(file).training_images == 150


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("map", 1.2, "map is not a fraction of 1"), ("videolt_few", "0", "videolt_few is not a fraction"),
        ("cf1", True, "cf1 is not a fraction"), ("per_class_recall", [0.5], "per_class_recall is not a list with"),
        ("per_class_f1", [0.5, 2, None, None], "per_class_f1 is not a list with a fraction"),
        ("positives", [1, 2, 3], "positives is not a list with a whole number for each class"),
        ("positives", [1, 2, 3.5, 0], "positives is not a list with a whole number"),
        ("positives", [20, 0, 10, 0], "positives is not 0 where per_class is null, and only there"),
    ],
)  # fmt: skip
def test_a_damaged_record_is_refused(file: Path, key: str, value: Any, words: str) -> None:
    content = json.loads(file.read_text())
    content["predictors"]["plain"]["splits"]["test"][key] = value
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"damaged or not a result.*{words}"):
        RunRecord.load(file)


@pytest.mark.parametrize("key", ["map", "per_class", "per_class_precision", "per_class_recall", "per_class_f1", "positives"])
def test_what_a_reader_needs_is_required(file: Path, key: str) -> None:
    content = json.loads(file.read_text())
    del content["predictors"]["plain"]["splits"]["test"][key]
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"a mapping with map, per_class, .*positives, images"):
        RunRecord.load(file)
