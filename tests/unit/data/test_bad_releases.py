"""Missing, damaged or hostile files of CIFAR: one sentence names the file, and no code in it ever runs."""

import os
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ltrun.data import CIFARLT, DigitsLT, ImageFolder
from ltrun.data.official import unpack, unpickle
from ltrun.data.releases import RELEASES
from ltrun.data.source import Source
from ltrun.errors import ConfigError, DataError
from tests.support.data_fakes import (
    Member,
    Payload,
    cifar,
    class_folders,
    fake_release,
    link_member,
    plain_member,
    refused,
    write_archive,
)

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_cache")


def test_a_pipe_in_place_of_an_official_file_never_hangs(tmp_path: Path) -> None:
    release, first = RELEASES[10], next(iter(RELEASES[10].train))
    (tmp_path / release.folder).mkdir()
    os.mkfifo(tmp_path / release.folder / first)
    assert f"{first} is not the official file, because it is a pipe" in refused(cifar(tmp_path))


# Missing data


def test_missing_data_are_refused_with_every_accepted_form_and_the_keys(tmp_path: Path) -> None:
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


def test_a_failed_download_is_refused_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = (tmp_path / "server" / "cifar-10-python.tar.gz").as_uri()
    monkeypatch.setitem(RELEASES, 10, replace(RELEASES[10], url=url))
    sentence = refused(cifar(tmp_path / "none", download=True))
    assert f"downloading {url} failed" in sentence
    assert "dataset.root" in sentence
    assert list((tmp_path / "none").iterdir()) == []


def test_a_download_of_another_file_is_refused_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page").write_text("<html>please log in</html>")
    monkeypatch.setitem(RELEASES, 10, replace(RELEASES[10], url=(tmp_path / "page").as_uri()))
    assert "not the official archive" in refused(cifar(tmp_path / "root", download=True))
    assert list((tmp_path / "root").iterdir()) == []


def test_a_download_to_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert str(tmp_path / "file") in refused(cifar(tmp_path / "file", download=True))


def test_a_missing_root_is_named(tmp_path: Path) -> None:
    assert str(tmp_path / "none") in refused(ImageFolder(str(tmp_path / "none")))


def test_a_folder_without_permission_to_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    """Returns the pickle as numpy 1 writes it, with module names that the unpickler allows."""
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
    with pytest.raises(DataError, match=r"not allowed|not a plain CIFAR file"):  # even if its digest were right
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
    """`unpack` refuses it even with the right digest, which no hostile archive can have."""
    outside, root = tmp_path / "outside", tmp_path / "root" / "deep"
    release, files = fake_release()
    archive = tmp_path / "archive" / "x.tar.gz"
    release = write_archive(archive, release, files, hostile_members(outside)[kind])
    root.mkdir(parents=True)
    with pytest.raises(DataError, match="leaves its folder, and is refused"):
        unpack(release, archive, root)
    assert list(root.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "root"]


def test_an_archive_with_another_digest_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release, files = fake_release()
    write_archive(tmp_path / release.archive, release, files)
    monkeypatch.setattr(tarfile, "open", None)
    assert "not the official archive" in refused(cifar(tmp_path))


@pytest.mark.parametrize("missing", ["data_batch_2", "test_batch"])
def test_an_archive_with_a_missing_or_a_changed_file_is_refused(tmp_path: Path, missing: str) -> None:
    release, files = fake_release()
    for changed in ({k: v for k, v in files.items() if k != missing}, files | {missing: b"other"}):
        archive = tmp_path / "x.tar.gz"
        with pytest.raises(DataError, match=missing):
            unpack(write_archive(archive, release, changed), archive, tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]


# Folders and arguments


def test_a_bad_image_in_class_folders_of_cifar_is_named(tmp_path: Path) -> None:
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
