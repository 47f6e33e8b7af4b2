"""Small data sets in the layouts of ImageNet-LT, Places-LT and iNaturalist 2018, with counts of their own."""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ltrun.data import published
from ltrun.data.published import Benchmark, Name

SHAPE = (48, 64, 3)
WNIDS = ("n01440764", "n01443537", "n01484850")
PLACES = ("airfield", "apartment_building-outdoor", "train_interior")


def jpeg(seed: int) -> bytes:
    """A JPEG of 64 x 48 pixels, different for each seed."""
    pixels = np.random.RandomState(seed).randint(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def content_of(key: str) -> bytes:
    """The image that bears a key, the same in every layout."""
    return jpeg(int.from_bytes(key.encode()[-4:], "big"))


def small(name: Name, classes: Sequence[str], train: Sequence[int], **held: int) -> Benchmark:
    """A benchmark with few classes and images. held: images of each class in the other splits."""
    counts = {"train": np.array(train)} | {split: np.full(len(train), each) for split, each in held.items()}
    return replace(published.benchmark(name), classes=tuple(classes), counts=counts)


def publish(monkeypatch: pytest.MonkeyPatch, name: Name, benchmark: Benchmark) -> None:
    """Makes a benchmark the published one for this test."""
    everything = {**{other: published.benchmark(other) for other in published.NAMES}, name: benchmark}
    monkeypatch.setattr(published, "_benchmarks", lambda: everything)


def lines(labelled: Mapping[str, int]) -> str:
    return "".join(f"{path} {label}\n" for path, label in labelled.items())


def write(root: Path, paths: Iterable[str], key: Callable[[str], str]) -> None:
    """Writes the image of each path below a root; the image follows from its key."""
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content_of(key(path)))


def write_tar(file: Path, members: Mapping[str, bytes]) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


def annotations(labelled: Mapping[str, int]) -> str:
    """iNaturalist's JSON, whose annotations are in another order than its images."""
    images = [{"id": number, "file_name": path} for number, path in enumerate(labelled)]
    rows = [{"image_id": number, "category_id": label} for number, label in enumerate(labelled.values())]
    return json.dumps({"images": images, "annotations": rows[::-1], "categories": []})
