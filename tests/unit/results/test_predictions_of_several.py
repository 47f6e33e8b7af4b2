"""Reader of predictions.npz for several labels per image: arrays read back, and must fit the result beside them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltrun.errors import DataError
from ltrun.results import predictions
from ltrun.results.predictions import Predictions, predictions_of
from ltrun.results.record import RunRecord
from tests.support.predicted import save_run, several_labels

LABELS, SCORES = several_labels(40, 4)
LABELS[:, 3] = False  # a class without test images
COUNTS = [120, 40, 30, 5]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_run(tmp_path, LABELS, {"plain": SCORES}, COUNTS, files=[f"{row:02}.png" for row in range(40)])


def read(folder: Path) -> Predictions:
    return predictions_of(RunRecord.load(folder / "result.json"), folder, "plain")


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64])
def test_labels_and_scores_read_back_and_scores_above_0_are_predicted(folder: Path, kind: Any) -> None:
    np.savez(folder / "predictions.npz", test_labels=LABELS.astype(kind), test_scores_plain=SCORES)
    found = read(folder)
    assert found.several and found.labels.dtype == bool and np.array_equal(found.labels, LABELS)
    assert np.array_equal(found.scores, SCORES) and np.array_equal(found.predicted, SCORES > 0)


def test_large_scores_stay_in_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions, "LARGE", 0)
    found = read(folder)
    assert isinstance(found.scores, np.memmap) and np.array_equal(found.predicted, SCORES > 0)


def test_probabilities_are_the_sigmoid_in_double_precision() -> None:
    scores = np.array([[1e4, 0, -np.inf], [np.log(3), -1e4, np.log(1 / 3)]], dtype=np.float32)
    found = Predictions(np.zeros((2, 3), bool), scores, None)
    rows, classes = (grid.ravel() for grid in np.indices((2, 3)))
    assert np.allclose(found.probabilities(rows, classes), [1, 0.5, 0, 0.75, 0, 0.25], atol=1e-7)


WRONG: list[dict[str, Any]] = [
    {"test_labels": np.arange(40) % 4, "test_scores_plain": SCORES},
    {"test_labels": LABELS[:-1], "test_scores_plain": SCORES},
    {"test_labels": LABELS[:, :3], "test_scores_plain": SCORES[:, :3]},
    {"test_labels": LABELS * 2, "test_scores_plain": SCORES},
    {"test_labels": -LABELS.astype(int), "test_scores_plain": SCORES},
    {"test_labels": LABELS.astype(float), "test_scores_plain": SCORES},
    {"test_labels": LABELS, "test_scores_plain": SCORES * np.nan},
    {"test_labels": LABELS[:0], "test_scores_plain": SCORES[:0]},
    {"test_labels": LABELS[0, 0], "test_scores_plain": SCORES},
    {"test_labels": LABELS, "test_scores_plain": SCORES, "test_files": np.array(["a"])},
]


@pytest.mark.parametrize("arrays", WRONG)
def test_arrays_that_do_not_fit_the_run_are_refused(folder: Path, arrays: dict[str, Any]) -> None:
    np.savez(folder / "predictions.npz", **arrays)
    with pytest.raises(DataError, match=r"predictions\.npz (cannot be read|is damaged)"):
        read(folder)


@pytest.mark.parametrize("arrays", [{"test_labels": LABELS[::-1, [1, 0, 2, 3]]}, {"test_scores_plain": SCORES - 1}])
def test_predictions_of_another_result_are_refused(folder: Path, arrays: dict[str, Any]) -> None:
    np.savez(folder / "predictions.npz", **{"test_labels": LABELS, "test_scores_plain": SCORES} | arrays)
    with pytest.raises(DataError, match="does not belong to the result beside it"):
        read(folder)
