"""Data that are missing, damaged or hostile: one sentence that names the file, nothing run, nothing written outside."""

import io
import os
import pickle
import struct
import tarfile
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ltrun.data import CIFARLT, DigitsLT, ImageFolder
from ltrun.data import images as decoding
from ltrun.data.official import unpack, unpickle
from ltrun.data.releases import RELEASES
from ltrun.data.source import Source
from ltrun.errors import ConfigError, DataError
from tests.support.data_fakes import (
    Member,
    Payload,
    cifar_parquet,
    class_folders,
    encoded,
    fake_release,
    link_member,
    plain_member,
    random_images,
    write_archive,
    write_parquet,
)

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path_factory.mktemp("cache")))


def refused(source: Source) -> str:
    """The sentence: one line, and not an exception's repr."""
    with pytest.raises(DataError) as caught:
        source.open(CPU)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "object at 0x" not in sentence
    return sentence


def cifar(root: Path, download: bool = False) -> CIFARLT:
    return CIFARLT(10, str(root), profile="as_is", download=download)


# Nothing there


def test_no_data_and_no_download(tmp_path: Path) -> None:
    sentence = refused(cifar(tmp_path / "none"))
    for word in (
        "CIFAR-10",
        str(tmp_path / "none"),
        "cifar-10-batches-py",
        "train.parquet",
        "train/<class>/",
        "dataset.root",
        "dataset.download",
    ):
        assert word in sentence
    assert not (tmp_path / "none").exists()


def test_no_data_and_a_download_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = (tmp_path / "server" / "cifar-10-python.tar.gz").as_uri()
    monkeypatch.setitem(RELEASES, 10, replace(RELEASES[10], url=url))
    sentence = refused(cifar(tmp_path / "none", download=True))
    assert f"downloading {url} failed" in sentence
    assert "dataset.root" in sentence
    assert list((tmp_path / "none").iterdir()) == []


def test_a_download_that_brings_something_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page").write_text("<html>please log in</html>")
    monkeypatch.setitem(RELEASES, 10, replace(RELEASES[10], url=(tmp_path / "page").as_uri()))
    assert "not the official archive" in refused(cifar(tmp_path / "root", download=True))
    assert list((tmp_path / "root").iterdir()) == []


def test_a_download_into_what_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refused(cifar(tmp_path / "file", download=True))


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert str(tmp_path / "none") in refused(ImageFolder(str(tmp_path / "none")))


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    class_folders(tmp_path, {"a": 2, "b": 2}, size=4)
    monkeypatch.setattr(os, "scandir", forbidden)
    assert "Permission denied" in refused(ImageFolder(str(tmp_path)))


# Official pickles


def write_official(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    release, files = fake_release()
    monkeypatch.setitem(RELEASES, 10, release)
    (folder / release.folder).mkdir(parents=True)
    for name, content in files.items():
        (folder / release.folder / name).write_bytes(content)
    assert cifar(folder).open(CPU)
    return folder / release.folder


@pytest.mark.parametrize(
    "damage", [lambda c: c[:-100], lambda c: b"", lambda c: c[:500] + b"\x01" + c[501:], lambda c: c + b"."]
)
def test_a_damaged_pickle_is_named_and_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
) -> None:
    file = write_official(tmp_path, monkeypatch) / "data_batch_3"
    file.write_bytes(damage(file.read_bytes()))
    assert f"{file} is not the official file" in refused(cifar(tmp_path))


def test_a_missing_pickle_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_official(tmp_path, monkeypatch) / "test_batch"
    file.unlink()
    assert str(file) in refused(cifar(tmp_path, download=True))


def _touch(path: str) -> None:
    Path(path).touch()


def _older(content: bytes) -> bytes:
    """As numpy 1 would have pickled it: with names that the unpickler allows."""
    return content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")


PAYLOADS: dict[str, Callable[[Path], bytes]] = {
    "os.system": lambda marker: f"cos\nsystem\n(S'touch {marker}'\ntR.".encode(),
    "builtins.eval": lambda marker: f"cbuiltins\neval\n(S'open({str(marker)!r}, \"w\")'\ntR.".encode(),
    "__reduce__": lambda marker: pickle.dumps(Payload(marker, _touch)),
    "nested in the data": lambda marker: pickle.dumps({b"data": [Payload(marker, _touch)], b"labels": []}),
    "numpy object array": lambda marker: _older(pickle.dumps({b"data": np.array([Payload(marker, _touch)], dtype=object)}, 3)),
    "torch": lambda marker: b"ctorch\nload\n(S'x'\ntR.",
    "attribute of an allowed name": lambda marker: pickle.dumps(np.ndarray.__array_wrap__, protocol=4),
}


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_hostile_pickle_never_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payload: str) -> None:
    marker = tmp_path / "marker"
    content = PAYLOADS[payload](marker)
    folder = write_official(tmp_path / "data", monkeypatch)
    (folder / "data_batch_1").write_bytes(content)
    assert str(folder / "data_batch_1") in refused(cifar(tmp_path / "data"))
    with pytest.raises(DataError, match=r"not allowed|not a plain CIFAR file"):  # nor if its digest were right
        unpickle(content, Path("data_batch_1"))
    assert not marker.exists()


# Archives


def hostile_members(outside: Path) -> dict[str, list[Member]]:
    folder = RELEASES[10].folder
    return {
        "parent": [plain_member("../outside", b"x")],
        "hidden parent": [plain_member(f"{folder}/../../outside", b"x")],
        "absolute": [plain_member(str(outside), b"x")],
        "symbolic link": [link_member(f"{folder}/link", str(outside.parent)), plain_member(f"{folder}/link/outside", b"x")],
        "hard link": [link_member(f"{folder}/link", "/etc/passwd", tarfile.LNKTYPE)],
        "device": [link_member(f"{folder}/null", "", tarfile.CHRTYPE)],
        "link under a wanted name": [link_member(f"{folder}/data_batch_1", "/etc/passwd")],
    }


@pytest.mark.parametrize("kind", hostile_members(Path("/x/outside")))
def test_an_archive_that_leaves_its_folder_is_refused(tmp_path: Path, kind: str) -> None:
    """Even with the right digest, which a hostile archive cannot have."""
    outside, root = tmp_path / "outside", tmp_path / "root" / "deep"
    release, files = fake_release()
    archive = tmp_path / "archive" / "x.tar.gz"
    release = write_archive(archive, release, files, hostile_members(outside)[kind])
    root.mkdir(parents=True)
    with pytest.raises(DataError, match="leaves its folder, and is refused"):
        unpack(release, archive, root)
    assert list(root.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "root"]


def test_an_archive_with_another_digest_stays_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, files = fake_release()
    write_archive(tmp_path / release.archive, release, files)
    monkeypatch.setattr(tarfile, "open", None)
    assert "not the official archive" in refused(cifar(tmp_path))


@pytest.mark.parametrize("missing", ["data_batch_2", "test_batch"])
def test_an_archive_that_lacks_a_file_or_holds_another_is_refused(tmp_path: Path, missing: str) -> None:
    release, files = fake_release()
    for changed in ({k: v for k, v in files.items() if k != missing}, files | {missing: b"other"}):
        archive = tmp_path / "x.tar.gz"
        with pytest.raises(DataError, match=missing):
            unpack(write_archive(archive, release, changed), archive, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]


# Parquet


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_truncated_parquet_is_named(tmp_path: Path, split: str, keep: float) -> None:
    cifar_parquet(tmp_path)
    file = tmp_path / f"{split}.parquet"
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    assert f"{file} cannot be read as parquet" in refused(cifar(tmp_path, download=True))


def test_real_parquet_truncated(cifar100_root: Path, tmp_path: Path) -> None:
    with (cifar100_root / "test.parquet").open("rb") as file:
        (tmp_path / "train.parquet").write_bytes(file.read(1_000_000))
    (tmp_path / "test.parquet").symlink_to(cifar100_root / "test.parquet")
    assert str(tmp_path / "train.parquet") in refused(CIFARLT(100, str(tmp_path)))


def test_a_parquet_without_its_other_half(tmp_path: Path) -> None:
    cifar_parquet(tmp_path)
    (tmp_path / "test.parquet").unlink()
    assert "test.parquet" in refused(cifar(tmp_path, download=True))


CELLS = [encoded(pixels) for pixels in random_images(20)]
LABELS = list(range(10)) * 2


def write_halves(root: Path, cells: Sequence[object], labels: Sequence[object], **columns: str) -> Path:
    write_parquet(root / "test.parquet", CELLS, LABELS)
    write_parquet(root / "train.parquet", cells, labels, **columns)
    return root / "train.parquet"


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (b"", "is empty"),
        (b"no image at all", "not an image of a known kind"),
        (CELLS[0][:700], "cannot be read"),
        (CELLS[0][:200] + b"\xff" * 50 + CELLS[0][250:], "cannot be read"),
        (encoded(random_images(1, size=28)[0]), "is 28 x 28 pixels, not 32 x 32"),
        (None, "has no image bytes"),
    ],
)
def test_a_bad_image_in_a_parquet_is_named_by_its_row(tmp_path: Path, cell: bytes | None, words: str) -> None:
    file = write_halves(tmp_path, [*CELLS[:13], cell, *CELLS[14:]], LABELS)
    sentence = refused(cifar(tmp_path))
    assert f"{file}, row 13" in sentence
    assert words in sentence


def test_a_path_in_a_parquet_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(CELLS[0])
    cells = [{"bytes": None, "path": str(tmp_path / "x.png")}] * 20
    write_halves(tmp_path, cells, LABELS)
    assert "row 0, has no image bytes" in refused(cifar(tmp_path))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([*LABELS[:7], 10, *LABELS[8:]], "row 7: the label is 10, not one of 0 to 9"),
        ([*LABELS[:7], -1, *LABELS[8:]], "row 7: the label is -1"),
        ([*LABELS[:7], None, *LABELS[8:]], "row 7, has no label"),
        ([label % 9 for label in LABELS], "has no image of class 9 ('truck')"),
    ],
)
def test_labels_that_are_not_those_of_the_data_set(tmp_path: Path, labels: list[object], words: str) -> None:
    file = write_halves(tmp_path, CELLS, labels)
    sentence = refused(cifar(tmp_path))
    assert words in sentence
    assert str(file) in sentence


def test_unknown_columns_are_listed(tmp_path: Path) -> None:
    write_halves(tmp_path, CELLS, LABELS, image="picture", label="label")
    sentence = refused(cifar(tmp_path))
    assert "picture, label" in sentence
    assert "img" in sentence


# Class folders


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    class_folders(tmp_path / "photos" / "train", {"ant": 4, "bee": 4}, size=8)
    class_folders(tmp_path / "photos" / "test", {"ant": 2, "bee": 2}, size=8, seed=50)
    return tmp_path / "photos"


def png_of_size(width: int, height: int) -> bytes:
    """A small, whole PNG file of that many black pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    packer = zlib.compressobj()
    row = b"\0" * ((width + 7) // 8 + 1)
    pixels = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


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
    "dangling link": (lambda path: path.symlink_to(path.parent / "gone.png"), "(No such file or directory)"),
}


def test_the_bombs_of_these_tests_are_whole_images() -> None:
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


def test_the_others_are_counted_in_the_sentence(photos: Path) -> None:
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


def test_a_mended_image_is_read_anew(photos: Path) -> None:
    path = photos / "train" / "ant" / "0000.png"
    path.write_bytes(b"")
    refused(ImageFolder(str(photos), image_size=8))
    path.write_bytes(encoded(random_images(1, size=8)[0]))
    assert ImageFolder(str(photos), image_size=8).open(CPU).skipped == 0


def test_a_class_without_test_images(photos: Path) -> None:
    for path in (photos / "test" / "bee").iterdir():
        path.unlink()
    assert "class 'bee' has no images" in refused(ImageFolder(str(photos)))
    (photos / "test" / "bee").rmdir()
    sentence = refused(ImageFolder(str(photos)))
    assert "class 'bee'" in sentence
    assert str(photos / "test") in sentence


def test_a_class_with_one_image_cannot_be_tested(tmp_path: Path) -> None:
    class_folders(tmp_path, {"ant": 4, "bee": 1}, size=8)
    assert "class 'bee'" in refused(ImageFolder(str(tmp_path)))


def test_a_class_that_training_does_not_know(photos: Path) -> None:
    class_folders(photos / "test", {"wasp": 1}, size=8)
    assert "class 'wasp'" in refused(ImageFolder(str(photos)))


def test_a_single_class(tmp_path: Path) -> None:
    class_folders(tmp_path, {"ant": 4}, size=8)
    assert "a single class, 'ant'" in refused(ImageFolder(str(tmp_path)))


def test_no_images_at_all(tmp_path: Path) -> None:
    assert str(tmp_path) in refused(ImageFolder(str(tmp_path)))
    (tmp_path / "x.png").write_bytes(CELLS[0])
    assert "no class folders" in refused(ImageFolder(str(tmp_path)))


def test_a_folder_inside_a_class_folder(photos: Path) -> None:
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


def test_links_inside_the_root_and_to_the_root_are_followed(photos: Path, tmp_path: Path) -> None:
    (photos / "train" / "ant" / "x.png").symlink_to(photos / "train" / "ant" / "0000.png")
    (tmp_path / "link").symlink_to(photos)
    assert ImageFolder(str(tmp_path / "link"), image_size=8).open(CPU).stats.counts.tolist() == [5, 4]


def test_a_class_name_that_cannot_be_printed(photos: Path) -> None:
    class_folders(photos / "train", {"wasp\x1b[2J": 1}, size=8)
    assert "\\x1b" in refused(ImageFolder(str(photos)))


def test_two_validation_splits(photos: Path) -> None:
    class_folders(photos / "val", {"ant": 2, "bee": 2}, size=8)
    with pytest.raises(ConfigError, match=r"dataset\.validation_per_class=0"):
        ImageFolder(str(photos), validation_per_class=1).open(CPU)


def test_cifar_folders_of_another_data_set(photos: Path) -> None:
    assert "2 class folders, but CIFAR-10 has 10" in refused(cifar(photos, download=True))


def test_cifar_folders_with_a_bad_image(tmp_path: Path) -> None:
    for split in ("train", "test"):
        class_folders(tmp_path / split, dict.fromkeys(RELEASES[10].names, 2))
    path = tmp_path / "test" / "frog" / "0001.png"
    path.write_bytes(b"")
    assert refused(cifar(tmp_path)).startswith(f"{path} is empty")


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: ImageFolder("x", image_size=0), "image_size"),
        (lambda: ImageFolder("x", test_fraction=0.0), "test_fraction"),
        (lambda: ImageFolder("x", test_fraction=1.0), "test_fraction"),
        (lambda: DigitsLT(test_per_class=0), "test_per_class"),
        (lambda: DigitsLT(test_per_class=174), "test_per_class"),
        (lambda: CIFARLT(10, "x", imbalance=0.02), "give 50"),
    ],
)
def test_senseless_arguments_are_refused_before_any_file_is_touched(build: Callable[[], Source], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        build()


def test_interrupting_a_decode_stops_it(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []

    def slow(source: object, size: int, crop: bool) -> np.ndarray:
        decoded.append(source)
        if len(decoded) == 2:
            raise KeyboardInterrupt
        time.sleep(0.005)
        return np.zeros((3, size, size), np.uint8)

    class_folders(photos / "train", {"ant": 500}, size=1)
    monkeypatch.setattr(decoding, "_decode", slow)
    with pytest.raises(KeyboardInterrupt):
        ImageFolder(str(photos), image_size=8).open(CPU)
    assert len(decoded) < 250
