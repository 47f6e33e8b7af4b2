"""Tars without unpacking: places of members, refused members, images by row in several processes."""

import io
import os
import tarfile
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from ltrun.data.images import Unreadable
from ltrun.data.tars import Archive, Located, members
from ltrun.errors import DataError
from tests.support.data_fakes import Member, link_member, plain_member
from tests.support.listed_images import write_tar

CONTENT = {f"train/n0/{k}.JPEG": bytes([k]) * (100 * k + 1) for k in range(7)}


def tar_of(file: Path, *found: Member, form: int = tarfile.DEFAULT_FORMAT, mode: str = "w") -> Path:
    with tarfile.open(file, mode, format=form) as tar:  # type: ignore[call-overload]
        for info, content in found:
            tar.addfile(info, io.BytesIO(content))
    return file


def read(file: Path) -> dict[str, bytes]:
    """What the places say, read from the archive."""
    whole = file.read_bytes()
    return {member.name: whole[member.offset : member.offset + member.size] for member in members(file)}


def refused(file: Path) -> str:
    with pytest.raises(DataError) as caught:
        list(members(file))
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["ustar", "gnu", "pax"])
def test_each_member_lies_where_its_header_says(tmp_path: Path, form: int) -> None:
    folder = tarfile.TarInfo("train")
    folder.type = tarfile.DIRTYPE
    found = [plain_member(f"./{name}", content) for name, content in CONTENT.items()]
    assert read(tar_of(tmp_path / "a.tar", (folder, b""), *found, form=form)) == CONTENT


@pytest.mark.parametrize("form", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["gnu", "pax"])
def test_long_names_and_names_beyond_ascii_are_read(tmp_path: Path, form: int) -> None:
    content = {f"{'folder/' * 40}Bücher {k}.JPEG": bytes([k]) for k in range(3)}
    assert read(tar_of(tmp_path / "a.tar", *(plain_member(*pair) for pair in content.items()), form=form)) == content


def test_a_tar_of_tars_is_read_through(tmp_path: Path) -> None:
    inner = [{f"n0{c}_{k}.JPEG": bytes([c, k]) for k in range(3)} for c in range(2)]
    contents = {f"n0{c}.tar": write_tar(tmp_path / "scratch", images).read_bytes() for c, images in enumerate(inner)}
    found = read(write_tar(tmp_path / "train.tar", contents))
    assert found == {f"n0{c}.tar:n0{c}_{k}.JPEG": bytes([c, k]) for c in range(2) for k in range(3)}


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (plain_member("../evil.JPEG", b"x"), "the member ../evil.JPEG leads out of the archive's folder"),
        (plain_member("a/../../evil.JPEG", b"x"), "the member a/../../evil.JPEG leads out"),
        (plain_member("/etc/evil.JPEG", b"x"), "the member /etc/evil.JPEG leads out"),
        (link_member("evil.JPEG", "/etc/passwd"), "the member evil.JPEG is a link to /etc/passwd"),
        (link_member("evil.JPEG", "a.JPEG", tarfile.LNKTYPE), "the member evil.JPEG is a link to a.JPEG"),
        (link_member("evil.JPEG", "", tarfile.FIFOTYPE), "the member evil.JPEG is no regular file"),
        (link_member("evil.JPEG", "", tarfile.CHRTYPE), "the member evil.JPEG is no regular file"),
    ],
)
@pytest.mark.parametrize("deep", [False, True], ids=["outer", "inner"])
def test_a_member_that_leaves_its_folder_is_refused_by_name(tmp_path: Path, member: Member, said: str, deep: bool) -> None:
    file = tar_of(tmp_path / "a.tar", plain_member("a.JPEG", b"x"), member)
    if deep:
        file = write_tar(tmp_path / "outer.tar", {"in.tar": file.read_bytes()})
        said = said.replace("the member ", "the member in.tar:")
    assert said in refused(file)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_compressed_tar_is_refused(tmp_path: Path, mode: str) -> None:
    file = tar_of(tmp_path / "a.tar", plain_member("a.JPEG", b"x"), mode=mode)
    assert "is compressed, damaged or cut off, and cannot be read without unpacking" in refused(file)


def test_a_tar_that_is_cut_off_within_a_member_is_refused(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", {"a.JPEG": b"x" * 2000, "b.JPEG": b"y" * 2000})
    file.write_bytes(file.read_bytes()[:4000])
    assert "damaged or cut off" in refused(file)


@pytest.mark.parametrize("content", [b"", b"not a tar at all" * 100])
def test_a_file_that_is_no_tar_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.tar"
    file.write_bytes(content)
    refused(file)


def located(root: Path, file: Path) -> Located:
    found, status = list(members(file)), file.stat()
    return Located(
        root,
        np.array([member.name.encode() for member in found]),
        [Archive(file.name.encode(), status.st_size, status.st_mtime_ns)],
        np.zeros(len(found), dtype=np.int64),
        np.array([member.offset for member in found]),
        np.array([member.size for member in found]),
    )


def test_processes_and_threads_read_one_archive_at_once(tmp_path: Path) -> None:
    images = located(tmp_path, write_tar(tmp_path / "a.tar", CONTENT))
    rows = np.random.RandomState(0).randint(0, len(images), 200).tolist()
    expected = [list(CONTENT.values())[row] for row in rows]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(images.read, rows)) == expected
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        assert list(pool.map(images.read, rows, chunksize=10)) == expected


def test_an_image_of_an_archive_is_named_with_its_member(tmp_path: Path) -> None:
    images = located(tmp_path, write_tar(tmp_path / "a.tar", CONTENT))
    assert images.shown(2) == f"{tmp_path}/a.tar:train/n0/2.JPEG"


def test_an_archive_that_was_changed_since_is_not_read(tmp_path: Path) -> None:
    file = write_tar(tmp_path / "a.tar", CONTENT)
    images = located(tmp_path, file)
    os.utime(file, ns=(1, 1))
    with pytest.raises(OSError, match="changed since its headers were read"):
        images.read(0)


def test_files_are_read_whole_and_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"abc")
    (tmp_path / "b.jpg").write_bytes(b"")
    none = np.zeros(2, dtype=np.int64)
    images = Located(tmp_path, np.array([b"a.jpg", b"b.jpg"]), [], none - 1, none, none)
    assert images.read(0) == b"abc"
    assert images.shown(1) == str(tmp_path / "b.jpg")
    with pytest.raises(Unreadable, match="is empty"):
        images.read(1)
