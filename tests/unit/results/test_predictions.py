"""Reader of predictions.npz: arrays read back as written, and must fit the result beside them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltrun.errors import ConfigError, DataError
from ltrun.results import predictions
from ltrun.results.predictions import Predictions, predictions_of
from ltrun.results.record import RunRecord
from tests.support.predicted import save_run, scores_of

LABELS = np.arange(30) % 3
COUNTS = [120, 40, 5]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    names = [f"test/{row:02}.png" for row in range(30)]
    return save_run(tmp_path, LABELS, {"plain": scores_of(LABELS, 3), "ncm": scores_of(LABELS, 3, 1)}, COUNTS, files=names)


def read(folder: Path, predictor: str = "plain") -> Predictions:
    return predictions_of(RunRecord.load(folder / "result.json"), folder, predictor)


def test_labels_scores_and_names_read_back(folder: Path) -> None:
    found = read(folder, "ncm")
    assert np.array_equal(found.labels, LABELS)
    assert np.array_equal(found.scores, scores_of(LABELS, 3, 1))
    assert found.files is not None and found.files[4] == "test/04.png"
    assert np.array_equal(found.predicted, found.scores.argmax(1))


def test_a_run_without_names_has_none(tmp_path: Path) -> None:
    assert read(save_run(tmp_path, LABELS, {"plain": scores_of(LABELS, 3)}, COUNTS)).files is None


def test_probabilities_are_the_softmax_in_double_precision() -> None:
    scores = np.array([[1e4, 1e4 - 1, -np.inf], [0, np.log(3), np.finfo(np.float32).min]], dtype=np.float32)
    found = Predictions(np.array([0, 1]), scores, None)
    each = [found.probabilities(np.array([0, 1]), np.array([c, c])) for c in range(3)]
    assert np.allclose(each, [[1 / (1 + np.exp(-1)), 0.25], [1 / (1 + np.e), 0.75], [0, 0]], atol=1e-7)


def test_an_unknown_predictor_is_refused_with_the_nearest_name(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no predictor 'ncn'; did you mean 'ncm'"):
        read(folder, "ncn")


def test_missing_predictions_are_named(folder: Path) -> None:
    (folder / "predictions.npz").unlink()
    with pytest.raises(DataError, match=r"predictions\.npz is missing.*force=true"):
        read(folder)


def test_large_scores_stay_in_the_file_and_are_checked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read(folder, "ncm")
    monkeypatch.setattr(predictions, "LARGE", 0)
    found = read(folder, "ncm")
    assert isinstance(found.scores, np.memmap) and not isinstance(expected.scores, np.memmap)
    assert np.array_equal(found.scores, expected.scores) and found.scores.dtype == np.float32
    assert np.array_equal(found.predicted, expected.predicted)
    file = folder / "predictions.npz"
    with np.load(file) as arrays:
        given = dict(arrays)
    np.savez_compressed(file, **given)
    assert np.array_equal(read(folder, "ncm").scores, expected.scores), "a compressed file is read as a whole"
    given["test_scores_ncm"] = np.asfortranarray(given["test_scores_ncm"])
    np.savez(file, **given)
    assert np.array_equal(read(folder, "ncm").scores, expected.scores)
    content = bytearray(file.read_bytes())
    place = content.index(given["test_scores_ncm"].tobytes("F"))
    content[place + 5] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read \(Bad CRC-32"):
        read(folder, "ncm")


SCORES = scores_of(LABELS, 3)
WRONG: list[dict[str, Any]] = [
    {"test_labels": LABELS},
    {"test_labels": LABELS[:-1], "test_scores_plain": SCORES},
    {"test_labels": LABELS, "test_scores_plain": SCORES[:, :2]},
    {"test_labels": LABELS - 1, "test_scores_plain": SCORES},
    {"test_labels": LABELS + 1, "test_scores_plain": SCORES},
    {"test_labels": LABELS.astype(float), "test_scores_plain": SCORES},
    {"test_labels": LABELS, "test_scores_plain": SCORES * np.nan},
    {"test_labels": LABELS[:0], "test_scores_plain": SCORES[:0]},
    {"test_labels": LABELS, "test_scores_plain": SCORES, "test_files": np.array(["a"])},
    {"test_labels": LABELS, "test_scores_plain": SCORES, "test_files": np.arange(30)},
    {"test_labels": LABELS, "test_scores_plain": SCORES, "test_files": np.array([None] * 30, dtype=object)},
    {"test_labels": LABELS, "test_scores_plain": np.array([None] * 30, dtype=object)},
]


@pytest.mark.parametrize("arrays", WRONG)
def test_arrays_that_do_not_fit_the_run_are_refused(folder: Path, arrays: dict[str, Any]) -> None:
    np.savez(folder / "predictions.npz", **arrays)
    with pytest.raises(DataError, match=r"predictions\.npz (cannot be read|is damaged)"):
        read(folder)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_file_that_is_cut_short_is_refused(folder: Path, length: int) -> None:
    path = folder / "predictions.npz"
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DataError, match="cannot be read"):
        read(folder)


def test_a_lone_array_is_refused(folder: Path) -> None:
    with (folder / "predictions.npz").open("wb") as file:
        np.save(file, LABELS)
    with pytest.raises(DataError, match="cannot be read"):
        read(folder)


def test_a_pickle_in_the_file_never_runs(folder: Path, tmp_path: Path) -> None:
    import pickle

    marker = tmp_path / "ran"

    class Marker:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.system, (f"touch {marker}",)

    (folder / "predictions.npz").write_bytes(pickle.dumps(Marker()))
    with pytest.raises(DataError, match="cannot be read"):
        read(folder)
    assert not marker.exists()


def test_predictions_of_another_result_are_refused(folder: Path) -> None:
    np.savez(folder / "predictions.npz", test_labels=LABELS, test_scores_plain=scores_of(LABELS, 3, lift=-9))
    with pytest.raises(DataError, match="does not belong to the result beside it"):
        read(folder)
