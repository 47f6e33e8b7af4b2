"""Stamps of files: an entry of the cache is made again after every change of contents that a file system shows."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL
import pytest

from ltrun.data import ImageFolder, cache, stamps
from ltrun.data.class_folders import scan
from ltrun.data.decoded import read_images
from ltrun.data.decoding import Decoding
from ltrun.data.stamps import Stamps
from tests.support.data_fakes import CPU, cifar, cifar_parquet, class_folders, encoded, images_of, write_parquet

pytestmark = pytest.mark.usefixtures("own_cache")
OLD = (1_700_000_000 * 10**9,) * 2  # atime and mtime in ns, as an archive leaves them


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Returns a folder of images of one size in bytes, because uncompressed, and one time."""
    from PIL import Image

    for split in ("train", "val", "test"):
        class_folders(tmp_path / "photos" / split, {"ant": 3, "bee": 3}, size=8, seed=len(split))
    for png in (tmp_path / "photos").rglob("*.png"):
        Image.open(png).save(png.with_suffix(".bmp"))
        png.unlink()
        os.utime(png.with_suffix(".bmp"), ns=OLD)
    return tmp_path / "photos"


def swapped_files(root: Path, split: str) -> None:
    one, other = root / split / "ant" / "0000.bmp", root / split / "bee" / "0000.bmp"
    one.rename(root / "aside")
    other.rename(one)
    (root / "aside").rename(other)


def swapped_links(root: Path, split: str) -> None:
    one, other = (root / split / name / "0000.bmp" for name in ("ant", "bee"))
    targets = one.readlink(), other.readlink()
    for link, target in ((one, targets[1]), (other, targets[0])):
        link.unlink()
        link.symlink_to(target)


def rewritten(root: Path, split: str) -> None:
    """Rewrites an image in place and sets its time of writing back."""
    path = root / split / "ant" / "0000.bmp"
    content = bytearray(path.read_bytes())
    content[-64:] = bytes(64)
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=OLD)


def another_folder(root: Path, split: str) -> None:
    """Replaces the folder by a copy with the same names, sizes and times but one other image."""
    shutil.copytree(root / split, root / "copy")
    (root / split).rename(root.parent / "away")
    (root / "copy").rename(root / split)
    rewritten(root, split)


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("change", [swapped_files, swapped_links, rewritten, another_folder])
def test_a_changed_folder_gives_the_images_that_are_now_in_its_files(
    photos: Path, split: str, change: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if change is swapped_links:
        for name in ("ant", "bee"):
            path = photos / split / name / "0000.bmp"
            path.rename(photos / f"{name}.bmp")
            path.symlink_to(photos / f"{name}.bmp")

    def opened() -> list[np.ndarray]:
        splits = ImageFolder(str(photos), image_size=8, streamed=False).open(CPU)
        return [images_of(store) for store in (splits.train, splits.val, splits.test) if store is not None]

    before = opened()
    change(photos, split)
    after = opened()
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path / "empty"))
    right = opened()
    assert all(np.array_equal(one, other) for one, other in zip(after, right, strict=True))
    assert not all(np.array_equal(one, other) for one, other in zip(before, right, strict=True))


def test_a_replaced_parquet_file_is_decoded_again(tmp_path: Path) -> None:
    images, labels = cifar_parquet(tmp_path)
    file = tmp_path / "test.parquet"
    os.utime(file, ns=OLD)
    assert np.array_equal(images_of(cifar(tmp_path).open(CPU).test), images)
    write_parquet(tmp_path / "new", [encoded(pixels) for pixels in images[::-1]], labels.tolist())
    (tmp_path / "new").replace(file)
    os.utime(file, ns=OLD)
    assert np.array_equal(images_of(cifar(tmp_path).open(CPU).test), images[::-1])


def test_another_version_of_pillow_decodes_again(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = scan(photos / "train", photos).listed(photos)
    read_images(folder, Decoding(8))
    decoded: list[int] = []

    def decode(*_: object) -> tuple[np.ndarray, dict[int, str]]:
        decoded.append(1)
        return np.zeros((6, 3, 8, 8), np.uint8), {}

    monkeypatch.setattr("ltrun.data.decoded.decode_all", decode)
    read_images(folder, Decoding(8))
    assert not decoded
    monkeypatch.setattr(PIL, "__version__", "0.1")
    read_images(folder, Decoding(8))
    assert decoded


def test_a_changed_folder_replaces_its_entry(photos: Path, tmp_path: Path) -> None:
    folder = Path(os.environ["LTRUN_CACHE"])
    for _ in range(3):
        ImageFolder(str(photos), image_size=8, streamed=False).open(CPU)
        swapped_files(photos, "train")
    assert len(list(folder.glob("*.arrays"))) == 3


def test_a_folder_has_one_place_for_every_spelling_of_its_path(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(photos.parent)
    places = [scan(root / "train", root).listed(root) for root in (Path("photos"), photos, Path("photos/../photos"))]
    assert len({folder.place for folder in places}) == 1


def test_stamps_wait_until_the_next_change_will_show(tmp_path: Path) -> None:
    (tmp_path / "new").write_bytes(b"1")
    begun = time.time()
    found = Stamps.of([tmp_path / "new"], tmp_path)
    assert found.settled
    assert time.time() - begun < 1
    assert time.time() - (tmp_path / "new").stat().st_ctime >= stamps.FINE


def test_an_entry_of_files_that_keep_changing_is_not_kept(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stamps, "_wait", lambda *_: 0.001)
    ImageFolder(str(photos), image_size=8, streamed=False).open(CPU)
    assert not list(Path(os.environ["LTRUN_CACHE"]).glob("*.arrays"))


MOUNTS = """22 1 0:20 / / rw - ext4 /dev/sda rw
30 22 0:31 / /home/my\\040photos rw - nfs4 server:/photos rw
31 22 0:32 / /media/card rw - vfat /dev/sdb rw
"""


@pytest.mark.parametrize(
    ("place", "system"), [("/home/my photos/a", "nfs4"), ("/home/my photos", "nfs4"), ("/home", ""), ("/media/card/x", "vfat")]
)
def test_file_systems_whose_times_may_hide_changes_are_recognised(
    place: str, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: MOUNTS)
    stamps._mounts.cache_clear()
    try:
        assert stamps.uncertain(Path(place)) == system
    finally:
        stamps._mounts.cache_clear()


def test_uncertain_times_are_warned_of_once(
    photos: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stamps, "uncertain", lambda _: "fuse.sshfs")
    monkeypatch.setattr(stamps, "COARSE", 0.0)
    monkeypatch.setattr(cache, "_warned", set())
    for _ in range(2):
        ImageFolder(str(photos), image_size=8, streamed=False).open(CPU)
    said = [record.message for record in caplog.records if "--verify" in record.message]
    assert len(said) == 1
    assert "fuse.sshfs" in said[0]
