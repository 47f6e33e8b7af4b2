"""Stored predictions of open images: round trip, another training, damaged and foreign files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ltrun.errors import DataError
from ltrun.results.history import save_arrays
from ltrun.results.open_images import Guesses, OpenImages, guesses_of
from ltrun.results.record import RunRecord
from tests.support.predicted import save_run, scores_of

LABELS = np.repeat(np.arange(4), 6)
CLASSES, SHARES = np.array([0, 3, 2]), np.array([0.9, 0.3, 0.05])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    scores = {"plain": scores_of(LABELS, 4), "ncm": scores_of(LABELS, 4, 1)}
    return save_run(tmp_path, LABELS, scores, [60, 30, 10, 5])


def of(folder: Path) -> RunRecord:
    return RunRecord.load(folder / "result.json")


def save(folder: Path, *rows: str) -> None:
    OpenImages("abc", 2, {row: Guesses(CLASSES, SHARES, "abc") for row in rows}).save(folder, of(folder))


def test_what_is_stored_reads_back(folder: Path) -> None:
    save(folder, "plain", "ncm")
    found = OpenImages.load(folder, of(folder))
    assert (found.digest, found.left_out, found.images, set(found.rows)) == ("abc", 2, 3, {"plain", "ncm"})
    row = guesses_of(of(folder), folder, "ncm")
    assert row.classes.tolist() == CLASSES.tolist() and row.confidences.tolist() == SHARES.tolist() and row.digest == "abc"


def test_a_run_without_open_images_names_the_command(folder: Path) -> None:
    with pytest.raises(DataError, match=rf"has no open\.npz, .*'ltrun evaluate {folder} --open IMAGES'"):
        guesses_of(of(folder), folder, "plain")


def test_a_row_that_was_not_stored_is_named(folder: Path) -> None:
    save(folder, "plain")
    assert guesses_of(of(folder), folder, "plain").classes.size == 3
    with pytest.raises(DataError, match=r"does not have the row 'ncm': store them by 'ltrun evaluate"):
        guesses_of(of(folder), folder, "ncm")


def test_open_images_of_an_earlier_training_of_the_run_do_not_count(folder: Path) -> None:
    save(folder, "plain")
    content = json.loads((folder / "result.json").read_text())
    content["provenance"]["date"] = "2031-01-01T00:00:00+00:00"
    (folder / "result.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"open\.npz is of another training than the result beside it"):
        guesses_of(of(folder), folder, "plain")


@pytest.mark.parametrize("length", [0, 1, 100, -30])
def test_a_file_that_is_cut_short_is_refused(folder: Path, length: int) -> None:
    save(folder, "plain")
    content = (folder / "open.npz").read_bytes()
    (folder / "open.npz").write_bytes(content[:length])
    with pytest.raises(DataError, match=r"open\.npz cannot be read"):
        guesses_of(of(folder), folder, "plain")


@pytest.mark.parametrize(
    ("classes", "shares"),
    [
        (np.array([0, 4]), np.array([0.5, 0.5])),
        (np.array([-1, 0]), np.array([0.5, 0.5])),
        (np.array([0, 1]), np.array([0.5])),
        (np.array([0, 1]), np.array([0.5, np.nan])),
        (np.array([0, 1]), np.array([0.5, 1.5])),
        (np.array([0.0, 1.0]), np.array([0.5, 0.5])),
        (np.array([], np.int64), np.array([])),
    ],
)
def test_arrays_that_do_not_fit_the_run_are_refused(folder: Path, classes: np.ndarray, shares: np.ndarray) -> None:
    OpenImages("abc", 0, {"plain": Guesses(classes, shares, "abc")}).save(folder, of(folder))
    with pytest.raises(DataError, match=r"open\.npz is damaged: store them by"):
        guesses_of(of(folder), folder, "plain")


def test_a_foreign_file_is_refused(folder: Path) -> None:
    save_arrays(folder / "open.npz", something=np.zeros(3))
    with pytest.raises(DataError, match=r"open\.npz cannot be read"):
        guesses_of(of(folder), folder, "plain")
