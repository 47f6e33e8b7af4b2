"""Class folders: their splits, class names and other files, and every common kind of image, decoded to RGB."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ltrun.data import ImageFolder
from tests.support.data_fakes import (
    class_folders,
    encoded,
    images_of,
    pixels_of,
    same,
)

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_cache")


def test_train_and_test_folders_become_splits(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"cat": 9, "ant": 4, "bee": 2})
    class_folders(tmp_path / "test", {"cat": 1, "ant": 2, "bee": 3}, seed=50)
    splits = ImageFolder(str(tmp_path), image_size=32).open(CPU)
    assert splits.names == ("ant", "bee", "cat")
    assert splits.stats.counts.tolist() == [4, 2, 9]
    assert torch.bincount(splits.test.targets.labels).tolist() == [2, 3, 1]
    assert (splits.input_shape[0], splits.val) == (3, None)


def test_val_is_the_test_split_only_without_a_test_folder(tmp_path: Path) -> None:
    class_folders(tmp_path / "train", {"a": 4, "b": 4})
    class_folders(tmp_path / "val", {"a": 2, "b": 2}, seed=50)
    splits = ImageFolder(str(tmp_path), image_size=32).open(CPU)
    assert (len(splits.train), splits.val, len(splits.test)) == (8, None, 4)
    class_folders(tmp_path / "test", {"a": 3, "b": 3}, seed=70)
    splits = ImageFolder(str(tmp_path), image_size=32).open(CPU)
    assert splits.val is not None
    assert (len(splits.train), len(splits.val), len(splits.test)) == (8, 4, 6)


@pytest.mark.parametrize("below", ["", "train"])
def test_without_a_test_folder_a_fifth_is_held_out(tmp_path: Path, below: str) -> None:
    class_folders(tmp_path / below, {"a": 40, "b": 10, "c": 2})
    splits = ImageFolder(str(tmp_path), image_size=32).open(CPU)
    assert splits.stats.counts.tolist() == [32, 8, 1]
    assert torch.bincount(splits.test.targets.labels).tolist() == [8, 2, 1]
    everything = torch.cat([pixels_of(splits.train), pixels_of(splits.test)])
    assert len(torch.unique(everything.flatten(1), dim=0)) == 52
    assert same(splits, ImageFolder(str(tmp_path), image_size=32).open(CPU))


def test_class_names_sort_as_numbers_only_if_all_are_numbers(tmp_path: Path) -> None:
    class_folders(tmp_path / "n", dict.fromkeys(["10", "2", "1", "100"], 2))
    class_folders(tmp_path / "m", dict.fromkeys(["10", "2", "b1", "B2"], 2))
    assert ImageFolder(str(tmp_path / "n"), image_size=4).open(CPU).names == ("1", "2", "10", "100")
    assert ImageFolder(str(tmp_path / "m"), image_size=4).open(CPU).names == ("10", "2", "B2", "b1")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    class_folders(tmp_path, {"bus": 4, "train": 4})
    assert ImageFolder(str(tmp_path), image_size=4).open(CPU).names == ("bus", "train")


def test_class_folders_can_be_made_long_tailed(tmp_path: Path) -> None:
    class_folders(tmp_path, dict.fromkeys("abc", 20), size=4)
    splits = ImageFolder(str(tmp_path), image_size=4, profile="step", imbalance=8).open(CPU)
    assert splits.stats.counts.tolist() == [16, 2, 2]


def test_other_files_and_hidden_folders_are_ignored(tmp_path: Path) -> None:
    class_folders(tmp_path, {"a": 3, "b": 3})
    (tmp_path / "README.txt").write_text("x")
    (tmp_path / "a" / "Thumbs.db").write_text("x")
    (tmp_path / "a" / ".hidden.png").write_text("x")
    (tmp_path / ".git").mkdir()
    (tmp_path / "__MACOSX").mkdir()
    splits = ImageFolder(str(tmp_path), image_size=4).open(CPU)
    assert (splits.names, len(splits.train) + len(splits.test), splits.skipped) == (("a", "b"), 6, 0)


RED = np.full((40, 40, 3), (200, 30, 10), dtype=np.uint8)


def kinds_of_image() -> dict[str, tuple[Image.Image, str, dict[str, Any], tuple[int, int, int]]]:
    """Returns name -> (image, file name, options of saving, colour that it must show)."""
    red = Image.fromarray(RED)
    palette = red.convert("P", palette=Image.Palette.ADAPTIVE)
    rotated = Image.new("RGB", (80, 40))
    rotated.paste(red, (20, 0))
    exif = Image.Exif()
    exif[0x0112] = 6
    clear = Image.new("RGBA", (40, 40), (0, 0, 0, 0))
    deep = Image.fromarray(np.full((40, 40), 128 * 256 + 77, dtype=np.uint16))
    return {
        "RGB": (red, "x.png", {}, (200, 30, 10)),
        "JPEG": (red, "x.JPG", {"quality": 95}, (200, 30, 10)),
        "WebP": (red, "x.webp", {"lossless": True}, (200, 30, 10)),
        "GIF": (palette, "x.gif", {}, (200, 30, 10)),
        "palette": (palette, "x.png", {}, (200, 30, 10)),
        "grey": (red.convert("L"), "x.png", {}, (79, 79, 79)),
        "one bit": (Image.new("1", (40, 40), 1), "x.png", {}, (255, 255, 255)),
        "16-bit grey": (deep, "x.png", {}, (128, 128, 128)),
        "16-bit TIFF": (deep, "x.tif", {}, (128, 128, 128)),
        "CMYK": (Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "x.jpg", {"quality": 95}, (254, 0, 0)),
        "transparent": (clear, "x.png", {}, (255, 255, 255)),
        "grey and alpha": (Image.new("LA", (40, 40), (90, 255)), "x.png", {}, (90, 90, 90)),
        "EXIF-rotated": (rotated, "x.jpg", {"exif": exif, "quality": 95}, (200, 30, 10)),
    }


@pytest.mark.parametrize("kind", kinds_of_image())
def test_every_kind_of_image_becomes_rgb(tmp_path: Path, kind: str) -> None:
    image, name, options, colour = kinds_of_image()[kind]
    class_folders(tmp_path, {"a": 2, "b": 2})
    image.save(tmp_path / "b" / name, **options)
    folder = ImageFolder(str(tmp_path), image_size=16, profile="as_is").open(CPU)
    stored = np.concatenate([images_of(folder.train), images_of(folder.test)])
    distance = np.abs(stored.astype(int) - np.array(colour)).mean(axis=(1, 2, 3))
    assert distance.min() < 4


def test_exif_rotation_is_undone(tmp_path: Path) -> None:
    upper_white = np.zeros((32, 32, 3), dtype=np.uint8)
    upper_white[:16] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    class_folders(tmp_path / "train", {"a": 1, "b": 1})
    class_folders(tmp_path / "test", {"a": 1})
    (tmp_path / "test" / "b").mkdir()
    Image.fromarray(upper_white).save(tmp_path / "test" / "b" / "x.jpg", exif=exif)
    shown = images_of(ImageFolder(str(tmp_path), image_size=32).open(CPU).test)[1]
    assert shown[:14].max() < 10
    assert shown[18:].min() > 245


def test_the_centre_square_is_kept(tmp_path: Path) -> None:
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = (10, 200, 30)
    class_folders(tmp_path / "train", {"a": 1, "b": 1})
    class_folders(tmp_path / "test", {"a": 1})
    for name, pixels in (("wide", wide), ("tall", wide.transpose(1, 0, 2))):
        (tmp_path / "test" / "b").mkdir(exist_ok=True)
        (tmp_path / "test" / "b" / f"{name}.png").write_bytes(encoded(np.ascontiguousarray(pixels)))
    shown = images_of(ImageFolder(str(tmp_path), image_size=20).open(CPU).test)[1:]
    assert (shown == (10, 200, 30)).all()


def test_a_large_jpeg_decodes_almost_as_in_full_detail(tmp_path: Path) -> None:
    """Decoding skips detail for speed; the result is within a few grey levels of a full decoding."""
    x, y = np.meshgrid(np.linspace(0, 255, 1200), np.linspace(0, 255, 900))
    photo = np.stack([x, y, 255 - x], axis=2).astype(np.uint8)
    class_folders(tmp_path / "train", {"a": 1, "b": 1})
    class_folders(tmp_path / "test", {"a": 1})
    (tmp_path / "test" / "b").mkdir()
    (tmp_path / "test" / "b" / "x.jpg").write_bytes(encoded(photo, "JPEG", quality=95))
    shown = images_of(ImageFolder(str(tmp_path), image_size=64).open(CPU).test)[1]
    full = Image.fromarray(photo).crop((150, 0, 1050, 900)).resize((64, 64), Image.Resampling.BICUBIC)
    assert np.abs(shown.astype(int) - np.asarray(full)).mean() < 2


def test_split_folders_may_be_written_in_capitals(tmp_path: Path) -> None:
    class_folders(tmp_path / "Train", {"a": 4, "b": 3})
    class_folders(tmp_path / "TEST", {"a": 2, "b": 2})
    splits = ImageFolder(str(tmp_path), image_size=32).open(CPU)
    assert (len(splits.train), len(splits.test), splits.val) == (7, 4, None)


def test_a_validation_folder_alone_is_the_test_split_and_the_log_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class_folders(tmp_path / "train", {"a": 4, "b": 3})
    class_folders(tmp_path / "val", {"a": 2, "b": 2})
    with caplog.at_level("INFO"):
        splits = ImageFolder(str(tmp_path), image_size=32).open(CPU)
    assert (len(splits.test), splits.val) == (4, None)
    assert f"{tmp_path / 'val'} is the test split, because there is no test folder" in caplog.text
