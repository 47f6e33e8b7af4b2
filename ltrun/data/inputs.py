"""Image files that a command line names, decoded batch by batch as the images of a run are for its evaluation."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ltrun.data.containers import OnDisk
from ltrun.data.decoders import Decoders, Order
from ltrun.data.decoding import Decoding
from ltrun.data.images import SUFFIXES, shown
from ltrun.errors import ConfigError, DataError

LISTS = {".txt", ".lst", ".list"}  # suffixes of files that hold a path a line
UNKNOWN = " -1"  # after a path: the label of an image of no class, in the lists of open images of ImageNet-LT and Places-LT
LUMA = (19595, 38470, 7471)  # ITU-R 601-2 in 65,536ths, as Pillow makes grey of RGB; grey that was stored as RGB stays exact


class Decoded(NamedTuple):
    """inputs: (B, channels, size, size) uint8; of videos (B, frames, D) float32. first: number of the first image. reasons: row
    of the batch -> why its image is unreadable; its numbers are zero."""

    inputs: Tensor
    first: int
    reasons: dict[int, str]


def images_of(words: Sequence[str], lines: Iterable[str], suffixes: Collection[str] = SUFFIXES) -> list[Path]:
    """Returns the image files that words name: a folder stands for the images in it and below, by name; a file of LISTS for the
    paths on its lines; `-`, or no word at all, for `lines`. Any other path stands for itself, whether or not it exists.

    suffixes: of the files that a folder stands for. Raises ConfigError if there is no image, DataError for a list that cannot
    be read.
    """
    found: list[Path] = []
    for word in words or ("-",):
        path = Path(word).expanduser()
        if word == "-":
            found += (Path(line) for line in _paths(lines, "standard input"))
        elif path.is_dir():
            found += _below(path, suffixes)
        elif path.suffix.lower() in LISTS and path.is_file():
            found += _listed(path)
        else:
            found.append(path)
    if not found:
        raise ConfigError(f"{', '.join(words) or 'standard input'} names no image: give folders, images, or a list of paths")
    return found


def _below(folder: Path, suffixes: Collection[str]) -> Iterator[Path]:
    for name, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        paths = (Path(name, file) for file in sorted(files) if not file.startswith("."))
        yield from (path for path in paths if path.suffix.lower() in suffixes)


def _listed(file: Path) -> Iterator[Path]:
    """Yields the paths of a list, from the present folder, or else from the folder of the list, or from a folder beside it with
    the name of the list: ImageNet_LT_open beside ImageNet_LT_open.txt. UNKNOWN after a path is no part of it."""
    try:
        text = file.read_text("utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise DataError(f"{shown(file)} cannot be read ({error.strerror}): make it readable, or name the images") from None
    for line in _paths(text.splitlines(), shown(file)):
        names = [line] if not line.endswith(UNKNOWN) else [line, line.removesuffix(UNKNOWN).rstrip()]
        paths = [folder / Path(name).expanduser() for name in names for folder in (Path(), file.parent, file.with_suffix(""))]
        yield next((path for path in paths if path.exists()), Path(names[-1]).expanduser())


def _paths(lines: Iterable[str], of: str) -> Iterator[str]:
    """Yields the paths on the lines. of: whose lines they are. Raises DataError for lines that are no text."""
    for line in lines:
        if "\0" in line:
            raise DataError(f"{of} holds zero bytes, so it is no list of paths: give one path a line")
        if line.strip():
            yield line.rstrip("\r\n")


def digest_of(paths: Sequence[Path]) -> str:
    """Returns 32 hex digits of the content of files, in any order and under any name; a file that cannot be read counts too."""
    found = []
    for path in paths:
        try:
            with path.open("rb") as file:
                found.append(hashlib.file_digest(file, "sha256").digest())
        except (OSError, ValueError):
            found.append(b"")
    return hashlib.sha256(b"".join(sorted(found))).hexdigest()[:32]


def decoded(paths: Sequence[Path], how: Decoding, channels: int, batch: int, workers: int | None) -> Iterator[Decoded]:
    """Yields the images in order, `batch` at a time, decoded by `workers` processes: see `Decoders`. Raises DataError."""
    plan = [rows.numpy() for rows in torch.arange(len(paths)).split(batch)]
    reads = Decoders(OnDisk(paths), how, workers, pinned=False, setting="--workers ").attempt([Order(rows) for rows in plan])
    for rows, read in zip(plan, reads, strict=True):
        first = int(rows[0])
        reasons = {number - first: reason for number, reason in read.reasons.items()}
        yield Decoded(grey(read.pixels) if channels == 1 else read.pixels, first, reasons)


def grey(images: Tensor) -> Tensor:
    """Returns (B, 1, H, W) uint8 of RGB images (B, 3, H, W)."""
    weights = torch.from_numpy(np.array(LUMA, dtype=np.int32))[:, None, None]
    return ((images.int() * weights).sum(1, keepdim=True) + 2**15 >> 16).to(torch.uint8)
