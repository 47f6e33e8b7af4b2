"""Export of the exact images of a long tail to parquet files, for machines that have neither the data set nor a network."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ltrun.data import parquet
from ltrun.data.official import Raw
from ltrun.data.profiles import LongTail, Rows
from ltrun.data.releases import Release
from ltrun.errors import ConfigError, DataError
from ltrun.results.atomic import sync


@dataclass(frozen=True)
class Note:
    """Note on an exported file in the file's own metadata: enough to read the file alone, and to check it.

    names: the classes in label order. counts: images of each class in this file. tail: the long tail of the training images.
    sha256: digest of this file's pixels and labels before they were encoded. source_sha256: digest of all pixels and labels of
    the source split, in the order of the source.
    """

    dataset: str
    split: str
    names: tuple[str, ...]
    counts: tuple[int, ...]
    tail: LongTail
    sha256: str
    source_sha256: str

    @classmethod
    def of(cls, file: Path) -> Note | None:
        """Returns the note of a parquet file, or None for a file that was not exported. Raises DataError for a damaged note."""
        if not (text := parquet.note_of(file)):
            return None
        try:
            found = json.loads(text)
            names, counts, tail = tuple(found["names"]), tuple(found["counts"]), LongTail(**found["tail"])
            return cls(**{**found, "names": names, "counts": counts, "tail": tail})
        except (ValueError, TypeError, KeyError, ConfigError):
            raise DataError(f"{file} has a damaged export note: export it again") from None

    def text(self) -> bytes:
        """Returns the note as JSON. A tail without shots does not mention them, so that earlier versions read it."""
        content = asdict(self)
        content["tail"] = {key: value for key, value in content["tail"].items() if value is not None}
        return json.dumps(content).encode()

    def check(self, raw: Raw, file: Path) -> None:
        """Raises DataError unless these are the images that were exported."""
        if digest(raw) != self.sha256:
            raise DataError(f"{file} does not hold the images that were exported to it: export it again")


def digest(raw: Raw) -> str:
    """Returns the SHA-256 of the pixels and labels of a split, in their order."""
    content = hashlib.sha256(np.ascontiguousarray(raw.images).data)
    content.update(raw.labels.astype("<i8").data)
    return content.hexdigest()


def export(release: Release, tail: LongTail, splits: Mapping[str, tuple[Raw, Rows]], folder: Path) -> list[Path]:
    """Writes each split's rows, in their order, to folder/<split>.parquet; the folder appears whole or not at all.

    A folder that already holds this export is left as it is. Raises ConfigError for a folder that holds anything else, or that
    cannot be written.
    """
    chosen = {split: raw.take(rows) for split, (raw, rows) in splits.items()}
    notes = {
        split: Note(
            dataset=release.title,
            split=split,
            names=release.names,
            counts=tuple(np.bincount(raw.labels, minlength=len(release.names)).tolist()),
            tail=tail,
            sha256=digest(raw),
            source_sha256=digest(splits[split][0]),
        )
        for split, raw in chosen.items()
    }
    if not _has(folder, notes):
        with appearing_folder(folder) as temporary:
            for split, raw in chosen.items():
                file = temporary / f"{split}.parquet"
                parquet.write(file, raw, release.columns[0], notes[split].text())
                sync(file)  # or a power failure could empty it after the folder got its name
    return [folder / f"{split}.parquet" for split in chosen]


def _has(folder: Path, notes: Mapping[str, Note]) -> bool:
    """Returns whether the folder holds an export with these notes. Raises ConfigError if it holds anything else."""
    try:
        there = sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise _refused(folder, error) from None
    files = {f"{split}.parquet": note for split, note in notes.items()}
    if there == sorted(files) and all(Note.of(folder / name) == note for name, note in files.items()):
        return True
    if there:
        raise ConfigError(f"to={folder} holds other data, such as {there[0]}: give a folder that is new or empty")
    return False


@contextmanager
def appearing_folder(folder: Path) -> Iterator[Path]:
    """Yields a temporary folder that is renamed to `folder` at the end: a kill or a full disk leaves no `folder`.

    Raises ConfigError for a folder that cannot be written.
    """
    folder = folder.resolve()
    temporary = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(folder)
    except OSError as error:
        raise _refused(folder, error) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refused(folder: Path, error: OSError) -> ConfigError:
    return ConfigError(f"to={folder} cannot be written ({error.strerror or error}): give a new folder where you may write")
