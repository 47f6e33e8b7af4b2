"""`ltrun data ... --show`: the sheet's size and pixels, its columns, and paths and data sets that it refuses."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ltrun.engine.sheet import label_of
from tests.support.commands import Run

SIDE, GAP, TOP, LEFT = 64, 4, 20, 150


def cell(page: NDArray[np.uint8], row: int, column: int) -> NDArray[np.uint8]:
    """The grey levels of an 8 x 8 image on the sheet."""
    top, left = TOP + row * (SIDE + GAP), LEFT + column * (SIDE + GAP)
    return page[top : top + SIDE : 8, left : left + SIDE : 8, 0]


def sheet(ltrun: Run, *words: str) -> NDArray[np.uint8]:
    done = ltrun("data", "dataset=digits_lt", *words, "--show", "sheet.png")
    assert done.returncode == 0, done.stderr
    assert "written to sheet.png" in done.stdout
    return np.asarray(Image.open("sheet.png"))


def test_a_sheet_shows_each_class_as_stored_and_in_each_draw(ltrun: Run) -> None:
    page = sheet(ltrun, "augmentation=cutout", "dataset.augments=null")
    assert page.shape == (TOP + 10 * (SIDE + GAP), LEFT + 9 * (SIDE + GAP), 3)
    for row in range(10):
        original = cell(page, row, 0)
        draws = [cell(page, row, column) for column in range(1, 9)]
        assert original.any(), "the stored image is not black"
        assert all(((draw == original) | (draw == 0)).all() for draw in draws), "Cutout only blackens"
        assert len({draw.tobytes() for draw in draws}) > 1, "each column is a draw of its own"


def test_cudas_columns_are_its_levels(ltrun: Run) -> None:
    page = sheet(ltrun, "augmentation=cuda", "augmentation.augments.cutout.size=1", "dataset.augments=null")
    assert page.shape[1] == LEFT + 12 * (SIDE + GAP)
    same = [[np.array_equal(cell(page, row, 0), cell(page, row, column)) for column in range(1, 12)] for row in range(10)]
    assert all(found[0] for found in same), "level 0 changes nothing"
    assert sum(found[-1] for found in same) < 3, "level 10 changes about everything"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--show"], "--show: name one file"),
        (["--show", "sheet.jpg"], "ends in .png"),
        (["--show", "folder.png"], "ends in .png"),
        (["--show", "/proc/none/sheet.png"], "could not be written"),
        (["--verify", "--show", "sheet.png"], "two commands"),
        (["--shwo", "sheet.png"], "did you mean 'ltrun data dataset=NAME --show FILE.png'"),
        (["augmentation=kuda", "--show", "sheet.png"], "augmentation"),
        (["dataset.imbalanse=3", "--show", "sheet.png"], "dataset.imbalance"),
    ],
)
def test_a_sheet_that_cannot_be_written_is_refused_in_a_sentence(ltrun: Run, words: list[str], said: str) -> None:
    Path("folder.png").mkdir()
    done = ltrun("data", "dataset=digits_lt", *words)
    assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr
    assert not Path("sheet.png").exists()


@pytest.mark.parametrize("name", ["mixup", "manifold_mixup"])
def test_what_a_sheet_leaves_out_is_named(ltrun: Run, name: str) -> None:
    done = ltrun("data", "dataset=digits_lt", f"augmentation={name}", "--show=sheet.png")
    assert done.returncode == 0 and f"not on the sheet: {name}" in done.stdout


def test_a_class_with_one_image_is_labelled_in_the_singular() -> None:
    assert label_of("nine", 1) == "nine\n1 image" and label_of("zero", 1280) == "zero\n1,280 images"
