"""Lists of one's own: the splits, the names of the classes, and what is refused."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltrun.data import ImageLists, Splits
from tests.support.data_fakes import CPU
from tests.support.listed_images import lines, write, write_tar
from tests.support.official_trees import pixels, refused


@pytest.fixture
def root(tmp_path: Path, own_cache: None) -> Path:
    paths = {f"my photos/{name}/{k}.jpg": label for label, name in enumerate(("ant", "bee")) for k in range(6 - 2 * label)}
    write(tmp_path, paths, str)
    (tmp_path / "train.txt").write_text(lines({path: label for path, label in paths.items() if not path.endswith("0.jpg")}))
    (tmp_path / "test.txt").write_text(lines({path: label for path, label in paths.items() if path.endswith("0.jpg")}))
    return tmp_path


def opened(root: Path, **keys: Any) -> Splits:
    return ImageLists(**{"root": str(root), "image_size": 32, **keys}).open(CPU)


def test_lists_beside_the_images_are_found_and_classes_named_as_their_folders(root: Path) -> None:
    splits = opened(root)
    assert splits.names == ("ant", "bee")
    assert splits.stats.counts.tolist() == [5, 3] and len(splits.test) == 2 and splits.val is None
    assert "my photos/ant/1.jpg" in splits.train.files and splits.test.files[0] == "my photos/ant/0.jpg"


def test_a_compressed_archive_is_named_when_images_are_missing(root: Path) -> None:
    (root / "my photos").rename(root / ".hidden")
    (root / "photos.tar.gz").write_bytes(b"")
    said = refused(ImageLists(root=str(root), image_size=32))
    assert f"looked in {root} for my photos/ant/1.jpg and so on; photos.tar.gz is compressed, and must be unpacked" in said


def test_without_a_test_list_images_are_held_out(root: Path) -> None:
    (root / "test.txt").unlink()
    splits = opened(root)
    assert len(splits.test) == 2 and splits.stats.counts.tolist() == [4, 2]


def test_the_images_of_a_tar_need_no_unpacking(root: Path) -> None:
    expected = opened(root)
    files = {str(path.relative_to(root)): path.read_bytes() for path in (root / "my photos").rglob("*.jpg")}
    write_tar(root / "photos.tar", files)
    (root / "my photos").rename(root / ".hidden")
    found = opened(root)
    assert all(np.array_equal(*pair) for pair in zip(pixels(found), pixels(expected), strict=True))


@pytest.mark.parametrize("path", ["../x.jpg", "/etc/x.jpg"])
def test_a_path_outside_the_root_is_refused(root: Path, path: str) -> None:
    with (root / "train.txt").open("a") as file:
        file.write(f"{path} 0\n")
    assert f"names {path}, a place outside dataset.root" in refused(ImageLists(root=str(root)))


def test_images_may_not_be_held_out_in_place_of_a_list(root: Path) -> None:
    sentence = refused(ImageLists(root=str(root), test_fraction=0.5))
    assert "test.txt is the test split, so dataset.test_fraction=0.5 has no effect: remove it" in sentence


def test_a_folder_without_lists_is_refused(tmp_path: Path) -> None:
    assert "holds no train.txt: give the list of training images as dataset.train=FILE" in refused(
        ImageLists(root=str(tmp_path))
    )


def test_an_image_in_two_lists_is_leakage(root: Path) -> None:
    (root / "val.txt").write_text("my photos/ant/1.jpg 0\nmy photos/bee/1.jpg 1\n")
    assert "leakage: 2 images of" in refused(ImageLists(root=str(root)))


def test_tiny_imagenet_lt_is_read_as_it_is(shared_lists: Path, own_cache: None, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    root = shared_lists / "tiny_imagenet_lt"
    keys = {"train": "TinyImageNet_LT_train.txt", "test": "TinyImageNet_LT_test.txt"}
    splits = ImageLists(root=str(root), image_size=64, streamed=True, workers=0, **keys).open(CPU)  # type: ignore[arg-type]
    counts = splits.stats.counts.tolist()
    assert (len(splits.train), len(splits.test), len(splits.names)) == (1048, 1000, 20)
    assert (max(counts), min(counts)) == (200, 4)
    assert splits.names[0] == "n01443537"
    assert not caplog.messages
