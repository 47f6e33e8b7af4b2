"""Small trees of images in the official layouts of ImageNet-LT, Places-LT and iNaturalist 2018, with small counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ltrun.data import ImageLists, PublishedLists, Splits
from ltrun.data.published import Benchmark, Name
from ltrun.errors import ConfigError, DataError
from tests.support.data_fakes import CPU
from tests.support.listed_images import PLACES, WNIDS, annotations, content_of, lines, small, write, write_tar

Layout = Callable[[Path, Mapping[str, str], Mapping[str, str]], None]  # root, key -> path: of training and of test images


@dataclass(frozen=True)
class Set:
    """A small published data set. lists: name of the file -> path -> label."""

    name: Name
    benchmark: Benchmark
    lists: Mapping[str, Mapping[str, int]]

    def pool(self, *files: str) -> dict[str, str]:
        """Returns key -> path of the images of some lists."""
        return {self.benchmark.keys.of(path): path for file in files for path in self.lists[file]}

    def save(self, folder: Path) -> Path:
        for file, labelled in self.lists.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(annotations(labelled) if file.endswith("json") else lines(labelled))
        return folder


def imagenet() -> Set:
    def labelled(counts: tuple[int, ...], path: Callable[[str, int], str]) -> dict[str, int]:
        return {path(name, k): label for label, (name, n) in enumerate(zip(WNIDS, counts, strict=True)) for k in range(n)}

    lists = {
        "ImageNet_LT_train.txt": labelled((3, 5, 2), lambda name, k: f"train/{name}/{name}_{k}.JPEG"),
        "ImageNet_LT_val.txt": labelled((1, 1, 1), lambda name, k: f"train/{name}/{name}_9{k}.JPEG"),
        "ImageNet_LT_test.txt": labelled(
            (2, 2, 2), lambda name, k: f"val/{name}/ILSVRC2012_val_{10 * WNIDS.index(name) + k:08}.JPEG"
        ),
    }
    return Set("imagenet_lt", small("imagenet_lt", WNIDS, (3, 5, 2), val=1, test=2), lists)


def places() -> Set:
    def labelled(split: str, counts: tuple[int, ...], first: int = 0) -> dict[str, int]:
        return {
            f"train/{name}/{first + k:08}.jpg"
            if split == "train"
            else f"val/{name}/Places365_val_{10 * label + k:08}.jpg": label
            for label, (name, n) in enumerate(zip(PLACES, counts, strict=True))
            for k in range(n)
        }

    lists = {
        "Places_LT_train.txt": labelled("train", (3, 5, 2)),
        "Places_LT_val.txt": labelled("train", (1, 1, 1), first=90),
        "Places_LT_test.txt": labelled("val", (2, 2, 2)),
    }
    return Set("places_lt", small("places_lt", PLACES, (3, 5, 2), val=1, test=2), lists)


def inat(train: str = "iNaturalist18_train.txt", test: str = "iNaturalist18_val.txt") -> Set:
    counts = (4, 9, 2, 3, 1, 2, 3, 4, 5, 6, 7)

    def labelled(counts: tuple[int, ...], first: int) -> dict[str, int]:
        return {f"train_val2018/Aves/{c}/{1000 * c + first + k:032x}.jpg": c for c, n in enumerate(counts) for k in range(n)}

    lists = {train: labelled(counts, 0), test: labelled((3,) * len(counts), 500)}
    return Set("inat18", small("inat18", tuple(map(str, range(len(counts)))), counts, test=3), lists)


def put(root: Path, images: Mapping[str, str], place: Callable[[str], str]) -> None:
    """Writes the images to other places than the lists say."""
    write(root, [place(path) for path in images.values()], {place(path): key for key, path in images.items()}.__getitem__)


def named(path: str) -> str:
    return path.rpartition("/")[2]


def as_listed(root: Path, train: Mapping[str, str], test: Mapping[str, str]) -> None:
    put(root, {**train, **test}, str)


def flat_val(root: Path, train: Mapping[str, str], test: Mapping[str, str]) -> None:
    put(root, train, str)
    put(root, test, lambda path: f"val/{named(path)}")


def class_tars(root: Path, train: Mapping[str, str], test: Mapping[str, str], where: str = "train") -> None:
    for name in WNIDS:
        inside = {named(path): content_of(key) for key, path in train.items() if f"/{name}/" in path}
        write_tar(root / where / f"{name}.tar", inside)
    put(root, test, lambda path: f"val/{named(path)}")


def official_tars(root: Path, train: Mapping[str, str], test: Mapping[str, str]) -> None:
    class_tars(root / "scratch", train, {})
    inner = {f"{name}.tar": (root / "scratch" / "train" / f"{name}.tar").read_bytes() for name in WNIDS}
    for name in WNIDS:
        (root / "scratch" / "train" / f"{name}.tar").unlink()
    write_tar(root / "ILSVRC2012_img_train.tar", inner)
    write_tar(root / "ILSVRC2012_img_val.tar", {named(path): content_of(key) for key, path in test.items()})


def kaggle(root: Path, train: Mapping[str, str], test: Mapping[str, str]) -> None:
    put(root, train, lambda path: f"ILSVRC/Data/CLS-LOC/{path}")
    put(root, test, lambda path: f"ILSVRC/Data/CLS-LOC/val/{named(path)}")
    (root / "ILSVRC" / "ImageSets" / "CLS-LOC").mkdir(parents=True)
    (root / "ILSVRC" / "ImageSets" / "CLS-LOC" / "train_cls.txt").write_text("n01440764/n01440764_0 1\n")
    (root / "ILSVRC" / "ImageSets" / "CLS-LOC" / "val.txt").write_text("ILSVRC2012_val_00000000 1\n")


def hub(root: Path, train: Mapping[str, str], test: Mapping[str, str]) -> None:
    """Two files of training images and one of validation images, with images that no list names, in groups of three rows."""
    import pyarrow
    import pyarrow.parquet

    (root / "data").mkdir(parents=True)
    other = {f"n01440764_{70 + k}": f"train/n01440764/n01440764_{70 + k}.JPEG" for k in range(4)}
    keys = [*train, *other]
    classes = {key: path.split("/")[1] for key, path in {**train, **test, **other}.items()}
    files = {"train-00000-of-00002": keys[::2], "train-00001-of-00002": keys[1::2], "validation-00000-of-00001": [*test]}
    for file, some in files.items():
        cells = [{"bytes": content_of(key), "path": f"{key}_{classes[key]}.JPEG"} for key in some]
        table = pyarrow.table({"image": cells, "label": [0] * len(some)})
        pyarrow.parquet.write_table(table, root / "data" / f"{file}.parquet", row_group_size=3)


def imagenet_lt_folders(root: Path, train: Mapping[str, str], test: Mapping[str, str]) -> None:
    put(root, train, lambda path: path.replace("train/", "ImageNet_LT/val/" if "_9" in named(path) else "ImageNet_LT/train/"))
    put(root, test, lambda path: path.replace("val/", "ImageNet_LT/test/", 1))


def small_places(root: Path, train: Mapping[str, str], test: Mapping[str, str]) -> None:
    def nested(path: str) -> str:
        _, name, image = path.split("/")
        return f"data_256/{name[0]}/{name.replace('-', '/')}/{image}"

    put(root, train, nested)
    put(root, test, lambda path: f"val_256/{named(path)}")
    (root / "test_256").mkdir()
    (root / "test_256" / "Places365_test_00000001.jpg").write_bytes(b"unlabelled")


def places_tars(root: Path, train: Mapping[str, str], test: Mapping[str, str]) -> None:
    small_places(root / "scratch", train, test)
    for name in ("data_256", "val_256"):
        files = list((root / "scratch" / name).rglob("*.jpg"))
        write_tar(root / f"{name}.tar", {str(path.relative_to(root / "scratch")): path.read_bytes() for path in files})
        for path in files:
            path.unlink()


def source(name: Name, root: Path, **keys: Any) -> PublishedLists:
    return PublishedLists(**{"benchmark": name, "root": str(root), "image_size": 32, "streamed": True, "workers": 0, **keys})


def pixels(splits: Splits) -> list[np.ndarray]:
    stores = [splits.train, *([splits.val] if splits.val else []), splits.test]
    return [next(iter(store.open([torch.arange(len(store))]))).inputs.numpy() for store in stores]


def refused(source: PublishedLists | ImageLists) -> str:
    with pytest.raises((DataError, ConfigError)) as caught:
        source.open(CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)
