"""Small data sets in every form that ltrun reads: Parquet, pickles, archives, class folders."""

import hashlib
import io
import pickle
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ltrun.data import CIFARLT, Resident, Source, Splits
from ltrun.data.releases import RELEASES, Release
from ltrun.data.stores import Store
from ltrun.errors import DataError
from tests.support.narrow import of_type

CPU = torch.device("cpu")


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """An image file of (H, W, 3) or (H, W) uint8 pixels."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def random_images(count: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """(count, size, size, 3) uint8."""
    return np.random.RandomState(seed).randint(0, 256, (count, size, size, 3), dtype=np.uint8)


def write_parquet(
    path: Path, images: Sequence[object], labels: Sequence[object], image: str = "img", label: str = "label"
) -> None:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({image: list(images), label: list(labels)}), path)


def cifar_parquet(root: Path, per_class: int = 12, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """train.parquet and test.parquet of a small CIFAR-10; returns the training images (N, 32, 32, 3) and labels."""
    labels = np.tile(np.arange(classes), per_class)
    images = random_images(len(labels))
    for split in ("train", "test"):
        cells = [{"bytes": encoded(pixels), "path": "/etc/passwd"} for pixels in images]
        write_parquet(root / f"{split}.parquet", cells, labels.tolist())
    return images, labels


def class_folders(root: Path, counts: dict[str, int], size: int = 32, seed: int = 0) -> None:
    """root/<class>/<k>.png."""
    for c, (name, count) in enumerate(counts.items()):
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for k, pixels in enumerate(random_images(count, size, seed + c)):
            (folder / f"{k:04}.png").write_bytes(encoded(pixels))


def fake_release(classes: int = 10, per_file: int = 40) -> tuple[Release, dict[str, bytes]]:
    """A release whose files are small pickles, with their true MD5 sums; and the bytes of those files."""
    official = RELEASES[classes]
    files = {}
    for seed, name in enumerate([*official.train, *official.test]):
        pixels = random_images(per_file, seed=seed).transpose(0, 3, 1, 2).reshape(per_file, -1)
        labels = (np.arange(per_file) % classes).tolist()
        names = [f"{name}_s_{k:06}.png".encode() for k in range(per_file)]
        files[name] = pickle.dumps({b"data": pixels, official.labels.encode(): labels, b"filenames": names}, protocol=3)
    # numpy 2 writes numpy._core; the official files have the older name
    files = {name: content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray") for name, content in files.items()}
    md5 = {name: hashlib.md5(content).hexdigest() for name, content in files.items()}
    train, test = ({name: md5[name] for name in split} for split in (official.train, official.test))
    return replace(official, train=train, test=test), files


Member = tuple[tarfile.TarInfo, bytes]


def plain_member(name: str, content: bytes) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, content


def link_member(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info, b""


def write_archive(path: Path, release: Release, files: dict[str, bytes], extra: Sequence[Member] = ()) -> Release:
    """The release's archive, `extra` members first; returns the release with the archive's true MD5 and a file: address."""
    path.parent.mkdir(parents=True, exist_ok=True)
    members = [*extra, *(plain_member(f"{release.folder}/{name}", content) for name, content in files.items())]
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return replace(release, md5=hashlib.md5(path.read_bytes()).hexdigest(), url=path.resolve().as_uri())


class Payload:
    """An object whose unpickling writes a marker file."""

    def __init__(self, marker: Path, function: Callable[..., object]) -> None:
        self.marker, self.function = marker, function

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return self.function, (str(self.marker),)


def pixels_of(store: Store) -> torch.Tensor:
    return of_type(Resident, store).images


def images_of(store: Store) -> np.ndarray:
    """(N, H, W, channels)."""
    return pixels_of(store).permute(0, 2, 3, 1).numpy()


def same(a: Splits, b: Splits) -> bool:
    stores = zip((a.train, a.test), (b.train, b.test), strict=True)
    return all(torch.equal(pixels_of(x), pixels_of(y)) and torch.equal(x.targets.labels, y.targets.labels) for x, y in stores)


def refused(source: Source) -> str:
    """Returns the sentence of the DataError of opening; fails if it has two lines or the repr of an object."""
    with pytest.raises(DataError) as caught:
        source.open(CPU)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "object at 0x" not in sentence
    return sentence


def cifar(root: Path, download: bool = False) -> CIFARLT:
    return CIFARLT(10, str(root), profile="as_is", download=download)
