"""Identity of the data of a run, and the listing of its images, which names the images that differ."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ltrun.data.files import Digests, digests_of
from ltrun.data.source import Splits
from ltrun.data.stores import Resident, Store
from ltrun.results.atomic import write_atomically
from ltrun.results.identity import SPLITS, Identity, SplitIdentity, differences, digest, identity

LISTING = "data.npz"  # in the folder of a run
AT_ONCE = 4096  # images whose digests are taken at a time
TIMES = "times"
SECOND = 10**9


@dataclass(frozen=True, eq=False)
class Listing:
    """data: the identity that records carry. columns: split -> (N,) arrays: `files`, names as bytes; `pixels`, uint64 of each
    image's digest; or, where images are streamed, `sizes` of the files in bytes, int64, and `times` of writing them, int64 ns.
    Different times alone make no difference, because copies of files may have other times."""

    data: Identity
    columns: Mapping[str, Mapping[str, NDArray[Any]]]

    @classmethod
    def of(cls, splits: Splits) -> Listing:
        found, columns = {}, {}
        for name, store in _stores(splits):
            found[name], columns[name] = _listed(store)
        return cls(identity(splits.names, found), columns)

    def save(self, folder: Path) -> None:
        """Writes folder/data.npz, with arrays <split>_<column> and the digest of the data. Raises TrainingError."""
        arrays = {f"{split}_{name}": array for split, found in self.columns.items() for name, array in found.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, digest=np.array(self.data["digest"]), **arrays)  # type: ignore[arg-type]
        write_atomically(folder / LISTING, buffer.getvalue())

    def difference(self, before: Mapping[str, Any], folder: Path) -> str | None:
        """Returns in words how these data differ from the data of a record or a checkpoint; None where they do not.

        before: data of the record or checkpoint. folder: the run's folder, whose listing, if it exists, names differing images.
        """
        told = differences(before, self.data)
        if not told:
            return None
        listing = _saved(before, folder)
        return "; ".join(self._detail(split, listing) or sentence for split, sentence in told.items())

    @property
    def times(self) -> dict[str, torch.Tensor]:
        """<split>_times -> (N,) int64 ns, for a checkpoint; empty where pixels are known."""
        return {f"{split}_{TIMES}": torch.from_numpy(found[TIMES]) for split, found in self.columns.items() if TIMES in found}

    def written(self, before: Mapping[str, Any], folder: Path, times: Mapping[str, torch.Tensor] | None = None) -> str | None:
        """Returns in words which images were written since a run with the same names and sizes began; None if no image was, or
        the run's times are not known.

        before, folder: as in `difference`. times: the times in the run's checkpoint, for a folder without a listing.
        """
        if not before or before["digest"] != self.data["digest"]:
            return None
        kept = {name: tensor.cpu().numpy() for name, tensor in (times or {}).items()} | _saved(before, folder)
        known = [split for split in self.columns if f"{split}_{TIMES}" in kept and TIMES in self.columns[split]]
        changed = [
            file
            for split in known
            for file in self.columns[split]["files"][_others(kept[f"{split}_{TIMES}"], self.columns[split][TIMES])].tolist()
        ]
        if not changed:
            return None
        images = sum(len(self.columns[split]["files"]) for split in known)
        return (
            f"{len(changed):,} of {images:,} images {'was' if len(changed) == 1 else 'were'} written or replaced since this "
            f"run began, such as {changed[0].decode(errors='replace')}: streamed images are known by names and sizes only; if "
            "their contents have changed, force=true trains from scratch"
        )

    def _detail(self, split: str, listing: Mapping[str, NDArray[Any]]) -> str | None:
        """Returns `of 27 test images 1 is new (test/ant/6.png)`, or None if the listing shows no difference."""
        if split not in self.columns or f"{split}_files" not in listing:
            return None
        files, before = self.columns[split]["files"], listing[f"{split}_files"]
        changed: list[bytes] = []
        for name, values in self.columns[split].items():
            held = listing.get(f"{split}_{name}")
            if name not in ("files", TIMES) and held is not None and len(held) == len(before):
                of = dict(zip(before.tolist(), held.tolist(), strict=True))
                changed = [file for file, value in zip(files.tolist(), values.tolist(), strict=True) if of.get(file) != value]
        new, gone = files[~np.isin(files, before)].tolist(), before[~np.isin(before, files)].tolist()
        found = {"new": new, "gone": gone, "changed": sorted({*changed} - {*new})}
        told = [
            f"{len(some):,} {'is' if len(some) == 1 else 'are'} {word} ({some[0].decode(errors='replace')})"
            for word, some in found.items()
            if some
        ]
        return f"of {len(files):,} {SPLITS[split]} {', '.join(told)}" if told else None


def _saved(before: Mapping[str, Any], folder: Path) -> dict[str, NDArray[Any]]:
    """Returns the arrays of a run's listing; empty if the listing is absent, or is of other data."""
    try:
        with np.load(folder / LISTING, allow_pickle=False) as saved:
            return dict(saved) if str(saved["digest"]) == before["digest"] else {}
    except (OSError, ValueError, KeyError):
        return {}


def _others(before: NDArray[np.int64], now: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Returns (N,) where times differ; compares whole seconds where archives or file systems keep no more."""
    whole = (before % SECOND == 0) | (now % SECOND == 0)
    return np.where(whole, before // SECOND != now // SECOND, before != now)


def _stores(splits: Splits) -> Iterator[tuple[str, Store]]:
    yield "train", splits.train
    if splits.val is not None:
        yield "val", splits.val
    yield "test", splits.test
    if splits.unlabelled is not None:
        yield "unlabelled", splits.unlabelled


def _listed(store: Store) -> tuple[SplitIdentity, dict[str, NDArray[Any]]]:
    files, rows = store.files, store.files.rows
    names, pixels = files.names[rows], _pixels(store)
    sizes = None if files.sizes is None else files.sizes[rows]
    columns: dict[str, NDArray[Any]] = {"files": names}
    if pixels is not None:
        columns["pixels"] = np.ascontiguousarray(pixels[:, :8]).view(np.uint64)[:, 0]
    elif sizes is not None:
        columns["sizes"] = sizes
        if files.times is not None:
            columns[TIMES] = files.times[rows]
    found: SplitIdentity = {
        "images": len(store),
        "labels": digest(_canonical(store.targets.labels.cpu().numpy())),
        "files": digest(b"\0".join(names.tolist())),
        "sizes": None if sizes is None else digest(sizes.astype("<i8").tobytes()),
        "pixels": None if pixels is None else digest(pixels.tobytes()),
    }
    return found, columns


def _canonical(labels: NDArray[Any]) -> bytes:
    """Returns the bytes of labels on every machine: a class per row, or a bit for each class of a row."""
    return labels.astype("<i8").tobytes() if labels.ndim == 1 else np.packbits(labels, axis=1).tobytes()


def _pixels(store: Store) -> Digests | None:
    """Returns (N, 16) digests of pixels, computed now where the source has none; None for a streamed store."""
    if store.files.digests is not None:
        return store.files.digests[store.files.rows]
    if not isinstance(store, Resident):
        return None
    index = torch.arange(len(store), device=store.pixels.device) if store.index is None else store.index
    return np.concatenate([digests_of(store.pixels[rows].cpu().numpy()) for rows in index.split(AT_ONCE)])
