"""Thumbnails of files below a root, with a note for a file that is gone or changed, and of stored pixels."""

import base64
import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from ltrun.data.thumbnails import SIDE, Thumbnail, of_files, of_stored
from ltrun.errors import DataError

NEVER = float("inf")


def decoded(thumbnail: Thumbnail) -> np.ndarray:
    assert thumbnail.uri is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(thumbnail.uri.partition(",")[2]))))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.new("RGB", (200, 100), (250, 10, 10)).save(folder / "red.png")
    Image.new("L", (10, 10), 200).save(folder / "grey.png")
    (folder / "broken.png").write_bytes(b"no image")
    Image.new("RGB", (10, 10)).save(tmp_path / "secret.png")
    return folder


def test_files_are_scaled_squares_in_the_order_asked_for(root: Path) -> None:
    grey, red = of_files(root, ["grey.png", "red.png"], NEVER)
    assert decoded(red).shape == (SIDE, SIDE, 3)
    assert np.abs(decoded(red).mean((0, 1)) - [250, 10, 10]).max() < 4
    assert np.abs(decoded(grey).mean() - 200) < 4
    assert red.note == grey.note == ""


def test_a_missing_broken_or_outside_file_has_a_note_in_its_place(root: Path) -> None:
    (root / "link.png").symlink_to(root.parent / "secret.png")
    names = ["gone.png", "red.png", "broken.png", "../secret.png", "link.png", str(root.parent / "secret.png"), "grey.png"]
    found = of_files(root, names, NEVER)
    notes = [thumbnail.note for thumbnail in found]
    assert notes[0] == "is gone" and notes[1] == notes[6] == "" and "not an image" in notes[2]
    assert notes[3:6] == ["lies outside the data set"] * 3
    assert [thumbnail.uri is None for thumbnail in found] == [True, False, True, True, True, True, False]
    assert np.abs(decoded(found[6]).mean() - 200) < 4


def test_a_file_written_after_the_run_read_it_is_shown_with_a_note(root: Path) -> None:
    now = time.time()
    os.utime(root / "red.png", (now - 1000, now - 1000))
    assert [thumbnail.note for thumbnail in of_files(root, ["red.png", "grey.png"], now - 500)] == ["", "changed since the run"]


@pytest.mark.parametrize("channels", [1, 3])
def test_stored_pixels_are_kept_bit_for_bit(channels: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, channels, 8, 9), dtype=np.uint8)
    for image, thumbnail in zip(images, of_stored(lambda rows: torch.from_numpy(images[rows]), np.arange(2)), strict=True):
        assert thumbnail.uri is not None and thumbnail.uri.startswith("data:image/png")
        assert np.array_equal(decoded(thumbnail).reshape(8, 9, channels).transpose(2, 0, 1), image)


def test_large_images_of_a_store_become_small_pictures_and_an_unreadable_one_a_note() -> None:
    images = np.full((3, 3, 224, 224), 90, dtype=np.uint8)

    def pixels(rows: NDArray[np.int64]) -> torch.Tensor:
        if 1 in rows:
            raise DataError("photos.tar:ant/1.jpg is empty (0 bytes): repair or remove it")
        return torch.from_numpy(images[rows])

    first, second, third = of_stored(pixels, np.arange(3))
    assert second.uri is None and second.note.startswith("photos.tar")
    for thumbnail in (first, third):
        assert decoded(thumbnail).shape == (SIDE, SIDE, 3) and abs(decoded(thumbnail).mean() - 90) < 2
