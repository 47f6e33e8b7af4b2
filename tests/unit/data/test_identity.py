"""Identity of data: the same for the same images, in any place and in any form."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ltrun.data import CIFARLT, DigitsLT, ImageFolder, Resident, Splits
from ltrun.data.export import export
from ltrun.data.identity import Listing
from ltrun.data.releases import RELEASES
from ltrun.results.identity import Identity, differences
from ltrun.types import Labels
from tests.support.data_fakes import CPU, cifar_parquet, class_folders, encoded, fake_release, write_archive, write_parquet

pytestmark = pytest.mark.usefixtures("own_cache")


def photos(root: Path, **options: bool | int) -> Identity:
    return Listing.of(ImageFolder(str(root), image_size=8, workers=0, **options).open(CPU)).data  # type: ignore[arg-type]


@pytest.mark.parametrize("streamed", [False, True])
def test_a_copy_with_other_times_has_the_same_identity(tmp_path: Path, streamed: bool) -> None:
    class_folders(tmp_path / "one", {"ant": 9, "bee": 6}, size=9)
    shutil.copytree(tmp_path / "one", tmp_path / "elsewhere" / "two")
    for path in (tmp_path / "elsewhere").rglob("*.png"):
        os.utime(path, (1, 1))
    assert photos(tmp_path / "one", streamed=streamed) == photos(tmp_path / "elsewhere" / "two", streamed=streamed)


def test_streamed_data_lack_pixel_digests_and_do_not_differ_from_resident_data(tmp_path: Path) -> None:
    class_folders(tmp_path, {"ant": 9, "bee": 6}, size=9)
    streamed, resident = photos(tmp_path, streamed=True), photos(tmp_path, streamed=False)
    assert streamed["splits"]["test"]["pixels"] is None
    assert resident["splits"]["test"]["pixels"] is not None
    assert differences(streamed, resident) == differences(resident, streamed) == {}


def test_times_of_streamed_images_show_which_images_were_written_since_the_run_began(tmp_path: Path) -> None:
    class_folders(tmp_path / "photos", {"ant": 9, "bee": 6}, size=9)
    paths = sorted((tmp_path / "photos").rglob("*.png"))
    for path in paths:
        os.utime(path, ns=(1, 10**18 + 5))

    def listing(streamed: bool = True) -> Listing:
        return Listing.of(ImageFolder(str(tmp_path / "photos"), image_size=8, workers=0, streamed=streamed).open(CPU))

    before, resident = listing(), listing(streamed=False)
    before.save(tmp_path)
    assert resident.written(before.data, tmp_path) is None
    assert resident.times == {}
    for path in paths:
        os.utime(path, ns=(1, 10**18))  # as an archive with whole seconds restores them
    assert listing().written(before.data, tmp_path) is None
    os.utime(paths[3], ns=(1, 10**18 + 6))
    now = listing()
    assert now.data == before.data
    assert now.difference(before.data, tmp_path) is None
    told = "1 of 15 images was written or replaced since this run began, such as ant/0003.png: "
    assert str(now.written(before.data, tmp_path)).startswith(told)
    assert str(now.written(before.data, tmp_path / "no listing", before.times)).startswith(told)
    assert now.written(before.data, tmp_path / "no listing") is None, "the run's times are not known"
    assert now.written({}, tmp_path) is None


def test_unreadable_images_are_not_part_of_the_identity(tmp_path: Path) -> None:
    class_folders(tmp_path, {"ant": 9, "bee": 6}, size=9)
    before = photos(tmp_path, streamed=False)
    (tmp_path / "ant" / "9999.png").write_bytes(b"no image")
    assert photos(tmp_path, streamed=False, skip_unreadable=True) == before


def of_cifar(root: Path, **release: object) -> Identity:
    source = CIFARLT(10, str(root), imbalance=4, validation_per_class=2, download=False)
    source.release = replace(source.release, **release)  # type: ignore[arg-type]
    return Listing.of(source.open(CPU)).data


def test_every_form_of_cifar_in_the_official_order_is_the_same_data(tmp_path: Path) -> None:
    """Names of images differ between the forms; pixels, labels and order do not."""
    release, files = fake_release()
    release = write_archive(tmp_path / "archive" / RELEASES[10].archive, release, files)
    release = replace(release, url=f"https://nowhere/{RELEASES[10].archive}")
    own = {"train": release.train, "test": release.test, "md5": release.md5}
    found = [of_cifar(tmp_path / "archive", **own)]
    source = CIFARLT(10, str(tmp_path / "archive"), imbalance=4, validation_per_class=2, download=False)
    source.release = release
    export(release, source.tail, source.splits(), tmp_path / "export")
    found.append(of_cifar(tmp_path / "export"))
    for split in ("train", "test"):
        raw, _ = source.splits()[split]
        images = [encoded(pixels.transpose(1, 2, 0)) for pixels in raw.images]
        write_parquet(tmp_path / "parquet" / f"{split}.parquet", images, raw.labels.tolist())
    found.append(of_cifar(tmp_path / "parquet"))
    assert {data["digest"] for data in found} == {found[0]["digest"]}
    assert found[0]["splits"]["test"]["files"] == found[1]["splits"]["test"]["files"], "an export keeps the names"
    assert found[0]["splits"]["test"]["files"] != found[2]["splits"]["test"]["files"]
    assert all(differences(found[0], other) == {} for other in found)


def test_class_folders_of_cifar_in_another_order_are_other_data(tmp_path: Path) -> None:
    images, labels = cifar_parquet(tmp_path / "parquet")
    for split in ("train", "test"):
        for row in np.random.RandomState(0).permutation(len(images)):
            folder = tmp_path / "folders" / split / str(labels[row])
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(images[row]).save(folder / f"{len(list(folder.iterdir())):03}.png")
    assert "train" in differences(of_cifar(tmp_path / "parquet"), of_cifar(tmp_path / "folders"))


def test_pixel_digests_are_computed_where_the_source_has_none() -> None:
    """A plugin's data set may bring no digests."""
    pixels = torch.randint(0, 256, (5000, 1, 2, 2), dtype=torch.uint8)

    def of(images: torch.Tensor, index: torch.Tensor | None = None) -> Identity:
        store = Resident(images, Labels.hard(torch.zeros(5000, dtype=torch.int64)), index)
        return Listing.of(Splits(store, None, store, ("a", "b"))).data

    order = torch.randperm(5000)
    assert of(pixels[order]) == of(pixels, order)
    assert of(pixels) != of(pixels, order)


def test_unlabelled_images_change_no_digest_and_other_ones_are_noticed(tmp_path: Path) -> None:
    plain, read = (Listing.of(DigitsLT(reads_unlabelled=reads).open(CPU)) for reads in (False, True))
    assert read.data["digest"] == plain.data["digest"], "runs that read them share a table with others"
    assert plain.difference(read.data, tmp_path) is None and read.difference(plain.data, tmp_path) is None
    assert set(read.data["splits"]) - set(plain.data["splits"]) == {"unlabelled"}
    splits = DigitsLT(reads_unlabelled=True).open(CPU)
    assert isinstance(splits.unlabelled, Resident)
    fewer = replace(
        splits, unlabelled=Resident(splits.unlabelled.images[1:], splits.unlabelled.targets.take(torch.arange(887)))
    )
    told = Listing.of(fewer).difference(read.data, tmp_path)
    assert told is not None and "unlabelled images" in told
