"""Store of videos whose drawn frames alone are read from disk, by threads that read ahead of the training."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import repeat
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ltrun.data.crop import Draws, uniform
from ltrun.data.files import Files, Rows
from ltrun.data.frames import evenly
from ltrun.data.stores import Decodes
from ltrun.data.videos import Videos
from ltrun.parts import Frames
from ltrun.types import Batch, Targets

MOST = 8  # threads, unless `workers` says otherwise
T = TypeVar("T")


class Features:
    """Videos of a split as features (frames, D) of the type on disk: a batch is (B, frames, D).

    videos: of all splits. index: (N,) number of each row's video. targets: of the N rows, on the device. files: the names of
    the N rows. frames: how many frames evaluation reads of each video, evenly spaced. workers: threads that read batches ahead;
    0 reads in the caller's, None is one per thread of torch, up to MOST. Threads suffice, because reading a file holds no lock
    of Python.
    """

    decodes: Decodes = "videos"

    def __init__(
        self, videos: Videos, index: Rows, targets: Targets, files: Files, frames: int, workers: int | None = None
    ) -> None:
        assert len(index) == len(targets) == len(files)
        self.videos, self.index, self.targets, self.files, self.frames = videos, index, targets, files, frames
        self.workers = min(torch.get_num_threads(), MOST) if workers is None else workers

    def __len__(self) -> int:
        return len(self.index)

    def open(self, rows: Sequence[Tensor], late: bool = False, cuts: Sequence[Draws[Any]] | None = None) -> Iterator[Batch]:
        """Yields one batch for each tensor of int64 row numbers, in that order, on the device of the targets. No batch is late.

        cuts: of each batch, the random frames in place of evenly spaced ones. Raises DataError for a video that cannot be read.
        """
        if not rows:
            return
        device, lengths = self.targets.device, [len(some) for some in rows]
        plan = torch.cat(list(rows))
        videos = np.split(self.index[plan.cpu().numpy()], np.cumsum(lengths)[:-1])
        pinned = device.type == "cuda"
        reads = (partial(self._read, *each, pinned) for each in zip(videos, cuts or repeat(None, len(videos)), strict=True))
        for batch, inputs in zip(plan.to(device).split(lengths), ahead(reads, self.workers), strict=True):
            yield Batch(inputs.to(device, non_blocking=True), self.targets.take(batch), batch)

    def _read(self, videos: Rows, draws: Draws[Frames] | None, pinned: bool) -> Tensor:
        count = draws.crop.count if draws else self.frames
        found = torch.empty(len(videos), count, self.videos.width, dtype=torch.from_numpy(np.empty(0, self.videos.dtype)).dtype)
        found = found.pin_memory() if pinned else found
        numbers = uniform(draws.keys, count) if draws else None
        for row, (video, into) in enumerate(zip(videos.tolist(), found.numpy(), strict=True)):
            frames = int(self.videos.frames[video])
            chosen = evenly(frames, count) if draws is None or numbers is None else draws.crop.rows(frames, numbers[row])
            self.videos.read(video, chosen, into)
        return found


def ahead(calls: Iterable[Callable[[], T]], threads: int) -> Iterator[T]:
    """Yields the result of each call in turn, while `threads` threads make the next calls; without threads, one by one."""
    if not threads:
        yield from (call() for call in calls)
        return
    pool, waiting = ThreadPoolExecutor(threads), deque[Future[T]]()
    try:
        for call in calls:
            waiting.append(pool.submit(call))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
