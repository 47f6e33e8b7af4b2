"""The official CIFAR files: downloaded, unpacked and unpickled only after their published MD5 sum matched."""

from __future__ import annotations

import hashlib
import http.client
import io
import pickle
import secrets
import shutil
import tarfile
import urllib.request
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ltrun.data.cache import cached
from ltrun.data.files import Files, Rows, digests_of
from ltrun.data.images import no_file
from ltrun.data.releases import Release
from ltrun.errors import DataError

TIMEOUT = 30  # seconds without a byte
LARGEST = 250_000_000  # bytes; the archives have 170 million


class Raw(NamedTuple):
    """A split as published. images: (N, 3, 32, 32) uint8. labels: (N,) int64. files: the names of the N images."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    files: Files

    def take(self, rows: Rows) -> Raw:
        """Returns these rows, in their order."""
        return Raw(self.images[rows], self.labels[rows], self.files.take(rows))


def read(release: Release, folder: Path) -> tuple[Raw, Raw]:
    """Returns the training and the test split in the official order. Raises DataError."""
    return _read(release, folder, release.train), _read(release, folder, release.test)


def _read(release: Release, folder: Path, files: Mapping[str, str]) -> Raw:
    contents = [unpickle(_verified(folder / name, md5), folder / name) for name, md5 in files.items()]
    pixels = np.concatenate([content[b"data"] for content in contents])
    labels = [label for content in contents for label in content[release.labels.encode()]]
    names = [name for content in contents for name in content[b"filenames"]]
    images = pixels.reshape(-1, 3, 32, 32)
    digests = cached(lambda: {"digests": digests_of(images)}, "digests", *files.values())["digests"]
    return Raw(images, np.array(labels, dtype=np.int64), Files.of(names).holding(digests=digests))


def _verified(path: Path, md5: str) -> bytes:
    """Returns the bytes of a file. Raises DataError unless their MD5 sum is the published one."""
    way_out = "restore it, or remove its folder so that ltrun looks for other forms of the data"
    if reason := no_file(path):
        raise DataError(f"{path} is not the official file, because it {reason}: {way_out}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): {way_out}") from None
    if _md5(content) != md5:
        raise DataError(f"{path} is not the official file (its MD5 is not {md5}), so ltrun does not open it: {way_out}")
    return content


class PlainUnpickler(pickle.Unpickler):
    """Builds numpy arrays of numbers and Python's own containers, nothing else: a second lock behind the MD5 sum."""

    ALLOWED: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): np.zeros(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed")
        return self.ALLOWED[module, name]


def unpickle(content: bytes, path: Path) -> dict[bytes, Any]:
    """Returns the contents of a pickle of plain types. Raises DataError, which names `path`, for any other pickle."""
    try:
        return PlainUnpickler(io.BytesIO(content), encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise DataError(f"{path} is not a plain CIFAR file ({error}), so ltrun does not open it: restore it") from None


def download(release: Release, root: Path) -> None:
    """Fetches the archive, unpacks its files into root and removes it. Raises OSError or DataError, leaving nothing behind."""
    root.mkdir(parents=True, exist_ok=True)
    temporary = root / f".{release.archive}.{secrets.token_hex(4)}.tmp"
    try:
        with urllib.request.urlopen(release.url, timeout=TIMEOUT) as response, temporary.open("xb") as file:
            while block := response.read(1 << 20):
                file.write(block)
                if file.tell() > LARGEST:
                    raise OSError(f"the response exceeds {LARGEST:,} bytes")
        if not _is_official(temporary, release):
            raise OSError("the downloaded file is not the official archive")
        unpack(release, temporary, root)
    except http.client.HTTPException as error:  # a connection that broke off
        raise OSError(str(error) or type(error).__name__) from None
    finally:
        temporary.unlink(missing_ok=True)


def unpack(release: Release, archive: Path, root: Path) -> None:
    """Writes the release's files, and only those, into root / release.folder. Raises OSError or DataError.

    Nothing in the archive decides where a byte goes: its members are read by name into memory, checked by their MD5 sums, and
    written under the names that ltrun knows. Links, and names that leave the folder, are refused and never extracted.
    """
    if not _is_official(archive, release):
        raise DataError(f"{archive} is not the official archive (its MD5 is not {release.md5}) and is refused: remove it")
    files = {**release.train, **release.test}
    try:
        with tarfile.open(archive, "r:gz") as tar:
            members = {member.name: member for member in tar if _stays_inside(member, archive)}
            contents = {name: _member(tar, members.get(f"{release.folder}/{name}"), name, archive) for name in files}
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise DataError(f"{archive} is not a whole archive ({error}): remove it") from None
    for name, md5 in files.items():
        if _md5(contents[name]) != md5:
            raise DataError(f"{archive} holds a {name} that is not the official file and is refused: remove it")
    temporary = root / f".{release.folder}.{secrets.token_hex(4)}.tmp"
    try:
        temporary.mkdir()
        for name, content in contents.items():
            (temporary / name).write_bytes(content)
        try:
            temporary.rename(root / release.folder)
        except OSError:
            if not (root / release.folder).is_dir():  # else another run has unpacked it
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo | None, name: str, archive: Path) -> bytes:
    file = tar.extractfile(member) if member and member.isreg() and member.size <= LARGEST else None
    if file is None:
        raise DataError(f"{archive} does not hold {name} as a plain file and is refused: remove it")
    return file.read()


def _stays_inside(member: tarfile.TarInfo, archive: Path) -> bool:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or not (member.isreg() or member.isdir()):
        raise DataError(f"{archive} holds {member.name!r}, a link or a name that leaves its folder, and is refused: remove it")
    return True


def _is_official(archive: Path, release: Release) -> bool:
    with archive.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest() == release.md5


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
