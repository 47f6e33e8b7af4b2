"""Bad class folders and unreadable images: one sentence names the file, or the images are skipped and counted."""

import contextlib
import io
import os
import shutil
import socket
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ltrun.data import ImageFolder
from ltrun.data import images as decoding
from ltrun.data.releases import RELEASES
from ltrun.errors import ConfigError
from ltrun.tasks.single_label import measure
from tests.support.data_fakes import (
    cifar,
    class_folders,
    encoded,
    random_images,
    refused,
)
from tests.support.narrow import present

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_cache")


def png_of_size(width: int, height: int) -> bytes:
    """Returns a small, intact PNG file of width x height black pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj()
    row = b"\0" * ((width + 7) // 8 + 1)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _ring(path: Path) -> None:
    path.symlink_to("0000y")
    path.with_name("0000y").symlink_to(path.name)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as end, contextlib.chdir(path.parent):  # the full path may be too long for a socket
        end.bind(path.name)


POSTSCRIPT = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n"
BAD_IMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "zero bytes": (lambda path: path.write_bytes(b""), "is empty"),
    "text": (lambda path: path.write_text("not an image"), "is not an image of a known kind"),
    "truncated": (lambda path: path.write_bytes(encoded(random_images(1)[0])[:1500]), "truncated"),
    "truncated JPEG": (lambda path: path.write_bytes(encoded(random_images(1)[0], "JPEG")[:400]), "Truncated"),
    "bomb": (lambda path: path.write_bytes(png_of_size(20_000, 20_000)), "pixels and is refused"),
    "small bomb": (lambda path: path.write_bytes(png_of_size(10_000, 10_000)), "pixels and is refused"),
    "PostScript": (lambda path: path.write_text(POSTSCRIPT), "is not an image of a known kind"),
    "floating point": (lambda path: Image.fromarray(np.ones((8, 8), np.float32)).save(path, "TIFF"), "floating-point"),
    "folder": (lambda path: path.mkdir(), "(Is a directory)"),
    "pipe": (os.mkfifo, "is a pipe, a socket or a device, not a file"),
    "socket": (lambda path: _socket(path), "is a pipe, a socket or a device, not a file"),
    "link to a folder": (lambda path: path.symlink_to(path.parent), "(Is a directory)"),
    "link to itself": (lambda path: path.symlink_to(path.name), "(Too many levels of symbolic links)"),
    "two links in a ring": (lambda path: _ring(path), "(Too many levels of symbolic links)"),
    "Git LFS pointer": (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"), "`git lfs pull`"),
    "one letter": (lambda path: path.write_bytes(b"P"), "is not an image of a known kind"),
    "header of a TIFF": (lambda path: path.write_bytes(b"II*\0" + bytes(20)), "cannot be read (it begins as TIFF"),
    "integers": (lambda path: Image.fromarray(np.full((8, 8), 200, np.int32)).save(path, "TIFF"), "dataset.grey_range="),
    "dangling link": (lambda path: path.symlink_to(path.parent / "gone.png"), "(No such file or directory)"),
}


def test_the_decompression_bombs_of_these_tests_are_intact_images() -> None:
    with Image.open(io.BytesIO(png_of_size(900, 700))) as image:
        assert image.size == (900, 700)
        image.load()


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_an_unreadable_image_is_named_or_skipped_and_counted(photos: Path, kind: str, split: str) -> None:
    path = photos / split / "bee" / "0000x.png"
    spoil, words = BAD_IMAGES[kind]
    spoil(path)
    sentence = refused(ImageFolder(str(photos), image_size=8))
    assert sentence.startswith(str(path))
    assert words in sentence
    assert "dataset.skip_unreadable=true" in sentence
    splits = ImageFolder(str(photos), image_size=8, skip_unreadable=True).open(CPU)
    assert splits.skipped == 1
    assert (splits.stats.counts.tolist(), len(splits.test)) == ([4, 4], 4)


def test_the_sentence_counts_further_unreadable_images(photos: Path) -> None:
    for name in ("0000", "0001", "0002"):
        (photos / "train" / "ant" / f"{name}.png").write_bytes(b"")
    sentence = refused(ImageFolder(str(photos), image_size=8))
    assert f"{photos / 'train' / 'ant' / '0000.png'} is empty" in sentence
    assert "2 more" in sentence
    assert ImageFolder(str(photos), image_size=8, skip_unreadable=True).open(CPU).stats.counts.tolist() == [1, 4]


def test_skipping_a_whole_class_is_refused(photos: Path) -> None:
    for path in (photos / "train" / "ant").iterdir():
        path.write_bytes(b"")
    assert "class 'ant'" in refused(ImageFolder(str(photos), skip_unreadable=True))


def test_a_repaired_image_is_read_again(photos: Path) -> None:
    path = photos / "train" / "ant" / "0000.png"
    path.write_bytes(b"")
    refused(ImageFolder(str(photos), image_size=8))
    path.write_bytes(encoded(random_images(1, size=8)[0]))
    assert ImageFolder(str(photos), image_size=8).open(CPU).skipped == 0


@pytest.mark.parametrize("split", ["test", "val"])
def test_a_class_without_test_images_is_warned_of_and_not_measured(
    photos: Path, split: str, caplog: pytest.LogCaptureFixture
) -> None:
    class_folders(photos / split, {"ant": 2, "bee": 2}, size=8, seed=50)
    for path in (photos / split / "bee").iterdir():
        path.unlink()
    for _ in range(2):  # an empty folder, then none
        caplog.clear()
        splits = ImageFolder(str(photos), image_size=8).open(CPU)
        tested = splits.test if split == "test" else present(splits.val)
        assert torch.bincount(tested.targets.labels).tolist() == [2]
        assert f"{photos / split} has no images of class 'bee'" in caplog.text
        assert measure(torch.eye(2)[[0, 0]], tested.targets.labels, splits.stats)["per_class"] == [1.0, None]
        shutil.rmtree(photos / split / "bee", ignore_errors=True)
    shutil.rmtree(photos / split / "ant")
    (photos / split / "bee").mkdir()
    assert f"{photos / split} holds no images" in refused(ImageFolder(str(photos), image_size=8))


def test_cifar_needs_test_images_of_every_class(tmp_path: Path) -> None:
    names = RELEASES[10].names
    class_folders(tmp_path / "train", dict.fromkeys(names, 2))
    class_folders(tmp_path / "test", dict.fromkeys(names[1:], 2))
    assert f"class '{names[0]}' has no folder in {tmp_path / 'test'}" in refused(cifar(tmp_path))


def test_a_class_whose_test_images_are_all_skipped_is_warned_of(photos: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in (photos / "test" / "ant").iterdir():
        path.write_bytes(b"")
    splits = ImageFolder(str(photos), image_size=8, skip_unreadable=True).open(CPU)
    assert (len(splits.test), splits.skipped) == (2, 2)
    assert f"class 'ant' in {photos / 'test'} has no readable image" in caplog.text
    for path in (photos / "test" / "bee").iterdir():
        path.write_bytes(b"")
    assert "no readable image" in refused(ImageFolder(str(photos), image_size=8, skip_unreadable=True))


def test_without_a_test_folder_a_class_with_one_image_is_refused(tmp_path: Path) -> None:
    class_folders(tmp_path, {"ant": 4, "bee": 1}, size=8)
    assert "class 'bee'" in refused(ImageFolder(str(tmp_path)))


def test_a_test_class_that_training_lacks_is_refused(photos: Path) -> None:
    class_folders(photos / "test", {"wasp": 1}, size=8)
    assert "class 'wasp'" in refused(ImageFolder(str(photos)))
    another = (photos / "test" / "wasp").rename(photos / "test" / "beee")
    assert "did you mean 'bee'?" in refused(ImageFolder(str(photos)))
    another = another.rename(photos / "test" / "Bee")
    sentence = f"{another} differs only in case from class 'bee' in training: "
    assert refused(ImageFolder(str(photos))) == sentence + "move its images to 'bee'"
    (photos / "test" / "bee").rename(photos / "away")
    assert refused(ImageFolder(str(photos))) == sentence + "rename it to 'bee'"


def test_a_single_class_is_refused(tmp_path: Path) -> None:
    class_folders(tmp_path, {"ant": 4}, size=8)
    assert "a single class, 'ant'" in refused(ImageFolder(str(tmp_path)))


def test_a_root_without_class_folders_is_refused(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(ImageFolder(str(tmp_path)))
    (tmp_path / "x.png").write_bytes(encoded(random_images(1)[0]))
    assert "no class folders" in refused(ImageFolder(str(tmp_path)))


def test_a_folder_inside_a_class_folder_is_refused(photos: Path) -> None:
    (photos / "train" / "ant" / "more").mkdir()
    assert str(photos / "train" / "ant" / "more") in refused(ImageFolder(str(photos)))


@pytest.mark.parametrize("place", ["train/ant/x.png", "train/wasp", "test/ant/x.png", "val"])
def test_links_out_of_the_root_are_refused(photos: Path, tmp_path: Path, place: str) -> None:
    class_folders(tmp_path / "elsewhere", {"ant": 2, "bee": 2}, size=8)
    target = tmp_path / "elsewhere"
    if place.endswith("png"):
        target = target / "ant" / "0000.png"
    elif "/" in place:
        target = target / "ant"
    (photos / place).symlink_to(target)
    sentence = refused(ImageFolder(str(photos), image_size=8, skip_unreadable=True))
    assert f"{photos / place} is a symbolic link to a place outside {photos}" in sentence


@pytest.mark.parametrize("place", ["train/wasp", "test/bee2", "val"])
def test_a_broken_link_is_named_and_not_taken_for_a_missing_class(photos: Path, place: str) -> None:
    (photos / place).symlink_to("gone")
    assert f"{photos / place} is a broken symbolic link" in refused(ImageFolder(str(photos), image_size=8))


def test_links_inside_the_root_and_to_the_root_are_followed(photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "ant" / "x.png").symlink_to(photos / "train" / "ant" / "0000.png")
    (tmp_path / "link").symlink_to(photos)
    assert ImageFolder(str(tmp_path / "link"), image_size=8).open(CPU).stats.counts.tolist() == [5, 4]


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path.name)])
@pytest.mark.parametrize("place", ["", "test", "train/ant"])
def test_a_pipe_or_a_link_to_itself_never_hangs(photos: Path, make: Callable[[Path], object], place: str) -> None:
    make(photos / place / "odd")
    if (place, make) == ("test", os.mkfifo) or place != "test":
        assert ImageFolder(str(photos), image_size=8).open(CPU).stats.counts.tolist() == [4, 4]
    else:  # the link may have been a class
        assert refused(ImageFolder(str(photos))).startswith(f"{photos / 'test' / 'odd'} cannot be read (Too many levels")


def test_validation_per_class_beside_a_validation_folder_is_refused(photos: Path) -> None:
    class_folders(photos / "val", {"ant": 2, "bee": 2}, size=8)
    with pytest.raises(ConfigError, match=r"dataset\.validation_per_class=0"):
        ImageFolder(str(photos), validation_per_class=1).open(CPU)


def test_class_folders_of_another_data_set_are_refused_as_cifar(photos: Path) -> None:
    assert "2 class folders, but CIFAR-10 has 10" in refused(cifar(photos, download=True))


def test_interrupting_a_decode_stops_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def slow(source: object, how: decoding.Decoding) -> np.ndarray:
        decoded.append(source)
        if len(decoded) == 2:
            raise KeyboardInterrupt
        time.sleep(0.005)
        return np.zeros((3, how.size, how.size), np.uint8)

    class_folders(photos / "train", {"ant": 500}, size=1)
    monkeypatch.setattr(decoding, "_decode", slow)
    with pytest.raises(KeyboardInterrupt):
        ImageFolder(str(photos), image_size=8).open(CPU)
    assert len(decoded) < 250
