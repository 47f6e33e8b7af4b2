"""Made videos: features whose classes can be learnt, with lists in VideoLT's forms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

NAMES = ("rain", "snow", "dance", "chess", "ski")
WIDTH = 16  # numbers of a feature
FOLDERS = {"train": "train", "test": "test", "validate": "val"}  # beginnings of the lists of folders
Form = Literal["list", "folder"]


def make_videos(
    root: Path,
    train: int = 34,
    test: int = 20,
    val: int = 0,
    form: Form = "list",
    dtype: str = "float32",
    width: int = WIDTH,
    names: Sequence[str] = NAMES,
    seed: int = 0,
) -> Path:
    """Writes root/<id>.npy for each video, and the lists and the file of names beside them. Returns the root.

    The training videos are long-tailed: class 0 has about half of them, each next class half of the class before; some have a
    second label. Test videos have each class about equally often. A video has 1 to 40 frames, the first training video one
    alone, and each frame is the sum of its classes' directions and noise.
    """
    root.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    directions = 3 * rng.standard_normal((len(names), width)) / width**0.5
    tail = 0.5 ** np.arange(len(names))
    counts = np.zeros(len(names), dtype=np.int64)
    for split, number in {"train": train, "test": test, "validate": val}.items():
        lines = []
        for row in range(number):
            first = (
                row % len(names) if split != "train" or row < len(names) else int(rng.choice(len(names), p=tail / tail.sum()))
            )
            labels = sorted({first, *([int(rng.integers(len(names)))] if rng.random() < 0.3 else [])})
            name, frames = f"{split}_{row:03}", 1 if row == 0 else int(rng.integers(2, 41))
            np.save(root / f"{name}.npy", _features(rng, directions[labels].sum(axis=0), frames).astype(dtype))
            counts[labels] += split == "train"
            comma = ",".join(map(str, labels))
            lines.append(f"{name} {comma}" if form == "list" else f"{names[first]}/{name} {3 * frames} {comma},")
        if lines:
            file = {"list": f"{split}.lst", "folder": f"{FOLDERS[split]}_videofolder.txt"}[form]
            (root / file).write_text("\n".join(lines) + "\n")
    text = "".join(f"{name} {label} {count}.0\n" for label, (name, count) in enumerate(zip(names, counts, strict=True)))
    (root / "count-labels-train.lst").write_text(text)
    return root


def _features(rng: np.random.Generator, centre: NDArray[np.float64], frames: int) -> NDArray[np.float64]:
    return np.asarray(centre + rng.standard_normal((frames, len(centre))))
