"""Atomic writes of files: a kill or a full disk leaves the old content or the new, never a part of it."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ltrun.errors import TrainingError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


def write_atomically(path: Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    """Writes a temporary file beside `path`, forces it to the disk and renames it; makes missing folders.

    The temporary name is unique, so that two processes can write the same file. data: the content, or what writes the content
    to an open file, piece by piece. Raises TrainingError, and then leaves the old file as it was.
    """
    with replacing(path) as temporary:
        _write(temporary, data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Does what `appearing` does, and forces the file to the disk. Raises TrainingError."""
    try:
        with appearing(path) as temporary:
            yield temporary
            sync(temporary)
    except OSError as error:
        raise TrainingError(_sentence(path, error)) from error
    _sync_folder(path.parent)


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`, with its suffix, to be written piece by piece; then renames it to `path`.

    Makes missing folders. After an error or an interruption the old file is as it was, and the temporary one is gone. What a
    power failure may take can be written so; `replacing` is for all else. Raises OSError.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def append(path: Path, text: str) -> None:
    """Appends text to a file. Raises TrainingError if it cannot be written."""
    try:
        with path.open("a") as file:
            file.write(text)
    except OSError as error:
        raise TrainingError(_sentence(path, error)) from error


def _write(path: Path, data: bytes | Callable[[BinaryIO], object]) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        if not isinstance(data, bytes):
            with os.fdopen(file, "wb", closefd=False) as opened:
                data(opened)
            data = b""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
    finally:
        os.close(file)


def _sync_folder(folder: Path) -> None:
    """Makes the rename survive a power failure. Some file systems refuse to; the file is whole either way."""
    with suppress(OSError):
        sync(folder)


def sync(path: Path) -> None:
    """Forces a file, or the entries of a folder, to the disk. Raises OSError."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _sentence(path: Path, error: OSError) -> str:
    if error.errno in FULL:
        return (
            f"{path} could not be written because the disk or the quota is full; the old content is intact: "
            "free some space and repeat the command"
        )
    if error.errno in FORBIDDEN:
        return (
            f"{path} could not be written ({error.strerror}): "
            "make its folder writable, or choose another (outputs=FOLDER for a run), and repeat the command"
        )
    return f"{path} could not be written ({error.strerror or error}): resolve that error and repeat the command"
