"""Reading of drawn frames of videos: by positions, from mapped files, as whole files, and packed into one file.

    python benchmarks/videos.py --repeats 5

Writes videos of 60 to 230 frames of 2048 float32 to a temporary folder, and reads batches of 60 drawn frames of each, as
training does, by two threads. warm: from the page cache; cold: after the kernel was asked to drop the files from it. The ways
take turns, and the shortest time of each counts. The last lines give each way's time over the time of reading by positions.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from common import arguments

from ltrun.data.crop import uniform
from ltrun.data.features import ahead
from ltrun.data.files import Rows
from ltrun.data.frames import RandomFrames
from ltrun.data.video_pack import pack
from ltrun.data.videos import FEATURES, Stored, Videos, videos_in

WIDTH, DRAWN, BATCH, THREADS = 2048, 60, 32, 2
Way = Callable[[int, Rows, Stored], object]


def mapped(files: Sequence[Path], video: int, rows: Rows, into: Stored) -> None:
    np.take(np.load(files[video], mmap_mode="r"), rows, axis=0, out=into, mode="clip")


def whole(files: Sequence[Path], video: int, rows: Rows, into: Stored) -> None:
    into[:] = np.load(files[video])[rows]


def forget(files: Sequence[Path]) -> None:
    for path in files:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def seconds(way: Way, frames: Rows, order: Rows) -> float:
    def batch(videos: Rows) -> Stored:
        found = np.empty((len(videos), DRAWN, WIDTH), dtype=np.float32)
        draws = uniform(videos.astype(np.uint64), DRAWN)
        for video, numbers, into in zip(videos.tolist(), draws, found, strict=True):
            way(video, RandomFrames(DRAWN).rows(int(frames[video]), numbers), into)
        return found

    start = time.perf_counter()
    for _ in ahead((partial(batch, some) for some in np.array_split(order, -(-len(order) // BATCH))), THREADS):
        pass
    return time.perf_counter() - start


def made(folder: Path, videos: int) -> Iterator[str]:
    rng = np.random.default_rng(0)
    for video in range(videos):
        np.save(folder / f"{video}.npy", rng.standard_normal((int(rng.integers(60, 230)), WIDTH), dtype=np.float32))
        yield str(video)
    os.sync()


def main() -> None:
    options = arguments(__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ids = list(made(Path(folder), 64 if options.smoke else 1024))
        loose: Videos = videos_in(Path(folder), ids)
        pack(loose, Path(folder, "packed"), np.dtype("float32"))
        ways: dict[str, tuple[Way, Sequence[Path]]] = {
            "positions": (loose.read, loose.files),
            "mapped": (partial(mapped, loose.files), loose.files),
            "whole": (partial(whole, loose.files), loose.files),
            "packed": (videos_in(Path(folder, "packed"), ids).read, [Path(folder, "packed", FEATURES)]),
        }
        order = np.random.default_rng(1).permutation(len(ids))
        for state in ("warm", "cold"):
            times = {name: list[float]() for name in ways}
            for _ in range(options.repeats):
                for name, (way, files) in ways.items():
                    if state == "cold":
                        forget(files)
                    times[name].append(seconds(way, loose.frames, order))
            best = {name: min(found) for name, found in times.items()}
            ratios = " ".join(f"{name}={found / best['positions']:.2f}" for name, found in best.items())
            print(f"{state} {len(ids) / best['positions']:.0f} videos/s {ratios}", flush=True)


if __name__ == "__main__":
    main()
