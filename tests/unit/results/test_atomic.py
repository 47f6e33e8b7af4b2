"""Atomic writes: the old content survives every failure of a write."""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from ltrun.errors import TrainingError
from ltrun.results.atomic import write_atomically


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "result.json"
    path.write_bytes(b"old")
    return path


def broken(code: int) -> Callable[..., int]:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return fail


def test_writes_new_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "weights.pt"
    write_atomically(path, bytes(range(256)) * 4096)
    assert path.read_bytes() == bytes(range(256)) * 4096
    assert [p.name for p in path.parent.iterdir()] == ["weights.pt"]


def test_other_users_may_read_the_file(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "x", b"1")
    finally:
        os.umask(before)
    assert (tmp_path / "x").stat().st_mode & 0o777 == 0o644


def test_a_partial_write_goes_on(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda to, data: real(to, data[:7]))
    write_atomically(file, b"a text longer than seven bytes")
    assert file.read_bytes() == b"a text longer than seven bytes"


@pytest.mark.parametrize("function", ["write", "fsync"])
@pytest.mark.parametrize(
    ("code", "words"),
    [(errno.ENOSPC, "free some space"), (errno.EDQUOT, "quota"), (errno.EIO, "could not be written")],
)
def test_the_old_content_survives(file: Path, monkeypatch: pytest.MonkeyPatch, function: str, code: int, words: str) -> None:
    monkeypatch.setattr(os, function, broken(code))
    with pytest.raises(TrainingError, match=words) as caught:
        write_atomically(file, b"new")
    assert str(file) in str(caught.value)
    assert "repeat the command" in str(caught.value)
    assert file.read_bytes() == b"old"
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_an_unwritable_folder_is_named(file: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(os, "open", broken(code))
    with pytest.raises(TrainingError, match=r"make its folder writable, or choose another \(outputs=FOLDER for a run\)"):
        write_atomically(file, b"new")
    assert file.read_bytes() == b"old"


def test_a_file_where_a_folder_should_be(file: Path) -> None:
    with pytest.raises(TrainingError, match="could not be written"):
        write_atomically(file / "weights.pt", b"new")


def test_an_interrupted_write_leaves_no_temporary_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(file, b"new")
    assert list(file.parent.iterdir()) == [file]
    assert file.read_bytes() == b"old"


def test_a_full_disk_leaves_the_old_content(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("mounting a small disk needs root")
    try:
        write_atomically(disk / "last.pt", b"1" * 20_000)
        with pytest.raises(TrainingError, match="the disk or the quota is full"):
            write_atomically(disk / "last.pt", b"2" * 200_000)
        assert (disk / "last.pt").read_bytes() == b"1" * 20_000
        write_atomically(disk / "last.pt", b"3" * 20_000)  # the temporary file of the failed attempt takes no space
        assert [p.name for p in disk.iterdir()] == ["last.pt"]
    finally:
        subprocess.run(["umount", disk], check=True)
