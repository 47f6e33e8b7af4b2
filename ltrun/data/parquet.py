"""Parquet files of images and labels, in the schema in which CIFAR is commonly shared."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltrun.data.decoding import Decoding
from ltrun.data.files import Files
from ltrun.data.images import decode_all, no_file, shown
from ltrun.data.official import Raw
from ltrun.errors import DataError

IMAGE_COLUMNS = ("img", "image")
FILE_COLUMN = "file"  # names of images in an export; other parquet files may lack them
NOTE = b"ltrun"  # key of the file's own metadata


def read(files: Sequence[Path], label_columns: Sequence[str], size: int, split: str) -> Raw:
    """Returns (N, 3, size, size) images and (N,) labels of the files one after another, rows in their order.

    The image column holds encoded images as bytes, or as {bytes, path} with the bytes present: a path is never followed.
    Images without names of their own are numbered as rows of the split. Raises DataError.
    """
    parts = [_read(file, label_columns, size) for file in files]
    images, labels = (np.concatenate([part[i] for part in parts]) for i in range(2))
    names = [name for _, _, names in parts for name in names]
    return Raw(images, labels, Files.of(names) if len(names) == len(labels) else Files.numbered(split, len(labels)))


def note_of(file: Path) -> bytes:
    """Returns the note that `write` put into a file; empty for any other parquet file."""
    with opened(file) as parquet:
        return bytes((parquet.schema_arrow.metadata or {}).get(NOTE, b""))


def write(file: Path, raw: Raw, label_column: str, note: bytes) -> None:
    """Writes a file that `read` reads: rows in their order, images as lossless PNG. The same rows give the same bytes."""
    import pyarrow
    import pyarrow.parquet

    names = [os.fsencode(name) for name in raw.files]
    columns = {IMAGE_COLUMNS[0]: [_png(pixels) for pixels in raw.images], label_column: raw.labels, FILE_COLUMN: names}
    table = pyarrow.table(columns).replace_schema_metadata({NOTE: note})
    pyarrow.parquet.write_table(table, file, compression="none", write_page_checksum=True)


def _png(pixels: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels.transpose(1, 2, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def _read(
    file: Path, label_columns: Sequence[str], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str | bytes]]:
    """Returns images, labels, and the names of the images; no names if any is missing."""
    images, labels, names = _columns(file, label_columns)
    contents: list[Any] = [image.get("bytes") if isinstance(image, dict) else image for image in images]
    for row, (content, label) in enumerate(zip(contents, labels, strict=True)):
        if not isinstance(content, bytes) or not isinstance(label, int):
            missing = "label" if isinstance(content, bytes) else "image bytes"
            raise DataError(f"{file}, row {row}, has no {missing}: replace the file")
    pixels, reasons = decode_all(contents, Decoding(size, crop=False))
    for row, reason in reasons.items():
        raise DataError(f"{file}, row {row}: the image {reason}: replace the file")
    return pixels, np.array(labels, dtype=np.int64), names if all(isinstance(name, (str, bytes)) for name in names) else []


def _columns(file: Path, label_columns: Sequence[str]) -> tuple[list[Any], list[Any], list[Any]]:
    with opened(file) as parquet:
        names = parquet.schema_arrow.names
        image = next((name for name in IMAGE_COLUMNS if name in names), None)
        label = next((name for name in label_columns if name in names), None)
        if image is None or label is None:
            raise DataError(
                f"{file} has the columns {', '.join(names)}, but ltrun needs one of {', '.join(IMAGE_COLUMNS)} "
                f"and one of {', '.join(label_columns)}: rename them"
            )
        table = parquet.read(columns=[image, label, *({FILE_COLUMN} & set(names))])
        named = table.column(FILE_COLUMN).to_pylist() if FILE_COLUMN in names else []
        return table.column(image).to_pylist(), table.column(label).to_pylist(), named


@contextmanager
def opened(file: Path) -> Iterator[Any]:
    import pyarrow
    import pyarrow.parquet

    if reason := no_file(file):
        raise DataError(f"{shown(file)} cannot be read as parquet, because it {reason}: replace the file")
    try:
        with pyarrow.parquet.ParquetFile(file, page_checksum_verification=True) as parquet:
            yield parquet
    except (pyarrow.ArrowException, OSError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(f"{file} cannot be read as parquet ({reason.rstrip('.')}): replace the file") from None
