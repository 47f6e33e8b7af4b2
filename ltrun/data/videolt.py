"""VideoLT: videos with several labels, as features of their frames."""

# No `from __future__ import annotations`: see ltrun/data/photos.py.
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ltrun.data.features import Features
from ltrun.data.files import Files, Rows
from ltrun.data.images import shown
from ltrun.data.missing import check_limit, leave_out
from ltrun.data.source import Source, Splits, folder_of
from ltrun.data.video_lists import VideoList, find_lists, read_list, read_names
from ltrun.data.videos import SUFFIX, Videos, ids_in, is_packed, videos_in
from ltrun.errors import ConfigError, DataError
from ltrun.machine import MOST_WORKERS
from ltrun.metrics import MULTI_LABEL
from ltrun.targets import targets_of

LISTS = {
    "train": ("train.lst", "train_videofolder.txt"),
    "val": ("validate.lst", "val_videofolder.txt"),
    "test": ("test.lst", "test_videofolder.txt"),
    "names": ("count-labels-train.lst", "classes.txt"),
}
SPLITS: tuple[str, ...] = ("train", "val", "test")
FEATURES = ("", "features", "videolt", "VideoLT", "videolt/features", "VideoLT/features")  # below the root
MOST_FRAMES = 10_000

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Listed:
    """A list without the videos whose features are missing. labels: (N, C) bool. file: the list. lost: number left out."""

    ids: Sequence[str]
    labels: NDArray[np.bool_]
    file: Path
    lost: int


class Found(NamedTuple):
    """names: of the C classes. splits: the list of each split. videos: of all splits, one after the other. notes: for
    `ltrun data`."""

    names: tuple[str, ...]
    splits: Mapping[str, Listed]
    videos: Videos
    notes: tuple[str, ...]


@dataclass(eq=False)
class VideoLT(Source):
    """Videos with several labels, as features (frames, D) of their frames: <id>.npy, or a folder that `ltrun data pack` made.

    root: folder of the features and the lists, or of folders with them. features: folder below the root with the features of
    one network; None: the root itself, or a folder there with a usual name. lists: folder of the lists; None: as features.
    train, val, test: lists of lines `id 178,343` or `class/id frames 178,343,`; None: by their published names. Without a
    validation list there is no validation split. names: lines `name label count`, or a name a line; None: the published
    count-labels-train.lst, or numbers as names. missing: number of videos of each list, or share of them below 1, whose
    features may be missing. frames: of each test video, evenly spaced; training draws as many as `RandomFrames` says. workers:
    threads that read each stream of videos; None: one per thread of the run, up to 8.

    Zhang et al., 2021, arXiv 2105.02668.
    """

    root: str
    features: str | None = None
    lists: str | None = None
    train: str | None = None
    val: str | None = None
    test: str | None = None
    names: str | None = None
    missing: float = 0
    frames: int = 150
    workers: int | None = None

    tasks: ClassVar[frozenset[str]] = frozenset({MULTI_LABEL})

    def __post_init__(self) -> None:
        check_limit(self.missing)
        if not 1 <= self.frames <= MOST_FRAMES:
            raise ConfigError(f"frames must be from 1 to {MOST_FRAMES:,}, got {self.frames}")
        if self.workers is not None and not 0 <= self.workers <= MOST_WORKERS:
            raise ConfigError(f"workers must be from 0 to {MOST_WORKERS}, or null, got {self.workers}")

    def open(self, device: torch.device) -> Splits:
        names, found, videos, notes = self.found()
        files = Files.of(f"{name}{SUFFIX}" for name in videos.ids)
        times = videos.stamps.times if len(videos.stamps.times) == len(videos.ids) else None
        sizes = videos.frames * videos.width * videos.dtype.itemsize  # of the features alone: the same once they are packed
        stores, first = dict[str, Features](), 0
        for split, listed in found.items():
            rows = np.arange(first, first + len(listed.ids))
            targets = targets_of(torch.from_numpy(listed.labels)).to(device)
            own = files.holding(sizes, times=times).take(rows)
            stores[split] = Features(videos, rows, targets, own, self.frames, self.workers)
            first += len(listed.ids)
        return Splits(stores["train"], stores.get("val"), stores["test"], names, 0, (videos.stamps,), notes)

    def found(self) -> Found:
        """Finds the videos and looks at all their files, without reading features."""
        root = folder_of(self.root)
        given = {"train": self.train, "val": self.val, "test": self.test, "names": self.names}
        files = find_lists(root, self.lists, LISTS, given)
        if lacking := [split for split in ("train", "test") if split not in files]:
            where = shown(root if self.lists is None else folder_of(self.lists))
            raise DataError(
                f"{where} has no list of {' and '.join(lacking)} videos ({', '.join(LISTS[lacking[0]])}): give its folder as "
                f"dataset.lists=FOLDER, or the list as dataset.{lacking[0]}=FILE"
            )
        lists = {split: read_list(files[split]) for split in SPLITS if split in files}
        _check_apart(lists)
        names, published = read_names(files["names"]) if "names" in files else (None, None)
        if names is None:
            names = tuple(map(str, range(max(each.classes for each in lists.values()))))
        folder = self.folder()
        there = ids_in(folder)
        found = {split: self._present(each, each.hot(len(names)), there, folder) for split, each in lists.items()}
        videos = videos_in(folder, [name for each in found.values() for name in each.ids])
        return Found(names, found, videos, _notes(names, published, found, videos, self.frames))

    def folder(self) -> Path:
        """Returns the folder of the features. Raises DataError if there is none."""
        root = folder_of(self.root)
        places = [root / name for name in (FEATURES if self.features is None else (self.features,))]
        for place in places:
            if place.is_dir() and (is_packed(place) or next(place.glob(f"*{SUFFIX}"), None)):
                return place
        raise DataError(
            f"{shown(places[0])} holds no features (ID{SUFFIX}): give the folder above the lists and the features as "
            "dataset.root=FOLDER, and the folder of the features in it as dataset.features=NAME"
        )

    def _present(self, listed: VideoList, labels: NDArray[np.bool_], there: set[str], folder: Path) -> Listed:
        present = np.array([name in there for name in listed.ids])
        rows: Rows = leave_out(
            present, self.missing, shown(listed.file), lambda row: f"{listed.ids[row]}{SUFFIX}", shown(folder), "video"
        )
        return Listed([listed.ids[row] for row in rows], labels[rows], listed.file, len(present) - len(rows))


def _check_apart(lists: Mapping[str, VideoList]) -> None:
    """Raises DataError for a video in two lists: a test video that was trained on, say."""
    splits = list(lists)
    for index, split in enumerate(splits):
        for other in splits[index + 1 :]:
            if shared := set(lists[split].ids) & set(lists[other].ids):
                one = min(shared)
                raise DataError(
                    f"{shown(lists[split].file)} and {shown(lists[other].file)} both name {len(shared):,} videos, such as "
                    f"{shown(one)}: a video belongs into one of them"
                )


def _notes(
    names: Sequence[str], published: Rows | None, found: Mapping[str, Listed], videos: Videos, frames: int
) -> tuple[str, ...]:
    mean, least, most = videos.frames.mean(), videos.frames.min(), videos.frames.max()
    few = int((videos.frames < frames).sum())
    kind = f"features of {videos.width:,} numbers, {videos.dtype.name}; {mean:.0f} frames a video, {least:,} to {most:,}"
    notes = [kind + (f"; {few:,} videos have fewer than {frames}, and repeat frames in evaluation" if few else "")]
    counts = found["train"].labels.sum(axis=0)
    if published is not None and found["train"].lost == 0 and not np.array_equal(counts, published):
        label = int(np.flatnonzero(counts != published)[0])
        notes.append(
            f"class {names[label]} has {counts[label]:,} training videos, and {published[label]:,} in the file of names"
        )
    for split, listed in found.items():
        if listed.lost:
            notes.append(f"{listed.lost:,} videos of {shown(listed.file)} have no features, and are left out (dataset.missing)")
        if (empty := np.flatnonzero(~listed.labels.any(axis=0))).size:
            first = ", ".join(names[label] for label in empty[:5])
            notes.append(f"{empty.size:,} classes have no {split} video: {first}{', and others' if empty.size > 5 else ''}")
    return tuple(notes)
