"""ImageNet-LT, Places-LT and iNaturalist 2018: the same data from each official layout, and what is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ltrun.data.identity import Listing
from ltrun.errors import ConfigError
from tests.support.data_fakes import CPU
from tests.support.listed_images import PLACES, lines, publish, write_tar
from tests.support.official_trees import (
    Layout,
    Set,
    as_listed,
    class_tars,
    flat_val,
    hub,
    imagenet,
    imagenet_lt_folders,
    inat,
    kaggle,
    official_tars,
    pixels,
    places,
    places_tars,
    refused,
    small_places,
    source,
)  # fmt: skip

LAYOUTS: list[tuple[Callable[[], Set], Layout, str, str]] = [
    (imagenet, as_listed, "ILSVRC2012, a folder a class", "ILSVRC2012, a folder a class"),
    (imagenet, flat_val, "ILSVRC2012, a folder a class", "ILSVRC2012, a flat folder"),
    (imagenet, class_tars, "one tar a class", "ILSVRC2012, a flat folder"),
    (imagenet, official_tars, "a tar of tars", "a tar"),
    (imagenet, kaggle, "Kaggle's folders", "Kaggle's folders"),
    (imagenet, hub, "the hub's parquet files", "the hub's parquet files"),
    (imagenet, imagenet_lt_folders, "ILSVRC2012, a folder a class", "folders of ImageNet_LT"),
    (places, as_listed, "Places365, a folder a class", "Places365, a folder a class"),
    (places, flat_val, "Places365, a folder a class", "Places365, a flat folder"),
    (places, small_places, "Places365, small images, folders by first letter", "Places365, a flat folder"),
    (places, places_tars, "a tar", "a tar"),
    (inat, as_listed, "train_val2018, a folder a category", "train_val2018, a folder a category"),
]


@pytest.mark.parametrize(("made", "layout", "train_title", "test_title"), LAYOUTS)
def test_each_official_layout_gives_the_same_data(
    made: Callable[[], Set],
    layout: Layout,
    train_title: str,
    test_title: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    own_cache: None,
) -> None:
    some = made()
    publish(monkeypatch, some.name, some.benchmark)
    *train, test = some.lists
    reference, root = tmp_path / "reference", tmp_path / "root"
    as_listed(some.save(reference), some.pool(*train), some.pool(test))
    layout(root, some.pool(*train), some.pool(test))
    expected = source(some.name, reference).open(CPU)
    found = source(some.name, root, lists=str(reference)).open(CPU)
    assert Listing.of(found).data == Listing.of(expected).data
    assert all(np.array_equal(*pair) for pair in zip(pixels(found), pixels(expected), strict=True))
    assert found.stats.counts.tolist() == some.benchmark.counts["train"].tolist()
    places = [note for note in found.notes if "images below" in note]
    assert len(places) == len(some.lists)
    assert f", {train_title}, such as" in places[0] and f", {test_title}, such as" in places[-1]


def test_records_name_images_by_their_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: None) -> None:
    some = places()
    publish(monkeypatch, some.name, some.benchmark)
    as_listed(some.save(tmp_path), some.pool("Places_LT_train.txt", "Places_LT_val.txt"), some.pool("Places_LT_test.txt"))
    splits = source("places_lt", tmp_path).open(CPU)
    assert set(splits.train.files) == set(some.pool("Places_LT_train.txt"))
    assert "apartment_building-outdoor/00000000" in splits.train.files
    assert splits.test.files[0] == "Places365_val_00000000"
    assert splits.names == PLACES


@pytest.mark.parametrize("json", ["train2018.json", None])
def test_inaturalist_is_read_from_its_annotations(
    json: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: None
) -> None:
    some = inat("train2018.json", "val2018.json") if json else inat()
    publish(monkeypatch, some.name, some.benchmark)
    train, test = some.lists
    as_listed(some.save(tmp_path), some.pool(train), some.pool(test))
    splits = source("inat18", tmp_path).open(CPU)
    assert splits.stats.counts.tolist() == some.benchmark.counts["train"].tolist()
    assert splits.val is None and len(splits.test) == 33


def test_a_string_sorted_list_is_put_right_and_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: None, caplog: pytest.LogCaptureFixture
) -> None:
    some = inat()
    publish(monkeypatch, some.name, some.benchmark)
    train, test = some.lists
    as_listed(some.save(tmp_path), some.pool(train), some.pool(test))
    right = source("inat18", tmp_path).open(CPU)
    rank = {name: label for label, name in enumerate(sorted(some.benchmark.classes))}
    wrong = {path: rank[str(label)] for path, label in some.lists[train].items()}
    (tmp_path / train).write_text(lines(wrong))
    found = source("inat18", tmp_path).open(CPU)
    assert Listing.of(found).data == Listing.of(right).data
    assert any("numbers the classes by their names as text ('0', '1', '10', '100')" in note for note in found.notes)
    assert "names as text" in caplog.text


class TestImageNet:
    """What is refused or said of ImageNet-LT as the lists have it."""

    @pytest.fixture
    def root(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: None) -> Path:
        some = imagenet()
        publish(monkeypatch, some.name, some.benchmark)
        *train, test = some.lists
        as_listed(some.save(tmp_path), some.pool(*train), some.pool(test))
        return tmp_path

    def test_all_that_was_compared_is_told(self, root: Path) -> None:
        notes = source("imagenet_lt", root).open(CPU).notes
        assert notes == (
            f"{root}/ImageNet_LT_train.txt: 10 images, as many of each class as the published training list of ImageNet-LT",
            f"{root}/ImageNet_LT_val.txt: 3 images, as many of each class as the published validation list of ImageNet-LT",
            f"{root}/ImageNet_LT_test.txt: 6 images, as many of each class as the published test list of ImageNet-LT",
            f"training: 10 images below {root}, ILSVRC2012, a folder a class, such as train/n01440764/n01440764_0.JPEG",
            f"validation: 3 images below {root}, ILSVRC2012, a folder a class, such as train/n01440764/n01440764_90.JPEG",
            f"test: 6 images below {root}, ILSVRC2012, a folder a class, such as val/n01440764/ILSVRC2012_val_00000000.JPEG",
        )

    def test_the_validation_list_may_be_tested_on(self, root: Path) -> None:
        splits = source("imagenet_lt", root, test="ImageNet_LT_val.txt").open(CPU)
        assert len(splits.test) == 3 and splits.val is None
        assert any("used as test split in place of the 6 test images" in note for note in splits.notes)

    def test_one_list_for_two_splits_is_leakage(self, root: Path) -> None:
        assert "leakage: 3 images" in refused(
            source("imagenet_lt", root, val="ImageNet_LT_val.txt", test="ImageNet_LT_val.txt")
        )

    def test_missing_images_are_named_and_counted_and_where_to_get_them(self, root: Path) -> None:
        for k in (0, 1):
            (root / f"train/n01440764/n01440764_{k}.JPEG").unlink()
        sentence = refused(source("imagenet_lt", root))
        assert "2 of the 10 images of " in sentence and "are missing (n01440764_0, n01440764_1)" in sentence
        assert (
            f"looked in {root} for train/n01440764/n01440764_0.JPEG and so on, and by name among the 17 images, 0 tars"
            in sentence
        )
        assert "image-net.org" in sentence and "dataset.missing=2" in sentence

    @pytest.mark.parametrize("limit", [2, 0.2])
    def test_missing_images_may_be_left_out_up_to_a_limit(
        self, root: Path, limit: float, caplog: pytest.LogCaptureFixture
    ) -> None:
        for k in (0, 1):
            (root / f"train/n01440764/n01440764_{k}.JPEG").unlink()
        splits = source("imagenet_lt", root, missing=limit).open(CPU)
        assert splits.stats.counts.tolist() == [1, 5, 2]
        assert splits.train.files[0] == "n01440764_2"
        assert "2 of the 10 images" in caplog.text
        assert "2 of the 10 images" in refused(source("imagenet_lt", root, missing=limit - (1 if limit > 1 else 0.05)))

    def test_a_class_without_any_image_left_is_refused(self, root: Path) -> None:
        for k in range(3):
            (root / f"train/n01440764/n01440764_{k}.JPEG").unlink()
        assert "class 'n01440764' has no training image left" in refused(source("imagenet_lt", root, missing=5))

    def test_a_compressed_archive_is_named_when_images_are_missing(self, root: Path) -> None:
        (root / "train").rename(root / ".hidden")
        (root / "ILSVRC2012_img_train.tar.gz").write_bytes(b"")
        assert "ILSVRC2012_img_train.tar.gz is compressed, and must be unpacked first" in refused(source("imagenet_lt", root))

    @pytest.mark.parametrize("split", ["train", "test"])
    def test_a_list_that_is_not_there_is_said_with_its_source(self, root: Path, split: str) -> None:
        (root / f"ImageNet_LT_{split}.txt").unlink()
        sentence = refused(source("imagenet_lt", root))
        assert f"list of ImageNet-LT is missing: looked for ImageNet_LT_{split}.txt or {split}.txt in {root}" in sentence
        assert "get it from github.com" in sentence and "dataset.lists=FOLDER" in sentence

    def test_names_of_classes_lie_beside_the_lists(self, root: Path) -> None:
        (root / "classnames.txt").write_text("n01440764 tench\nn01443537 goldfish\nn01484850 great white shark\n")
        assert source("imagenet_lt", root).open(CPU).names == ("tench", "goldfish", "great white shark")

    def test_a_root_that_is_a_file_or_absent_is_refused(self, root: Path) -> None:
        assert "is a file: give the folder" in refused(source("imagenet_lt", root / "ImageNet_LT_val.txt"))
        assert "is not there: give the folder" in refused(source("imagenet_lt", root / "nowhere"))

    def test_a_hostile_archive_is_refused_by_its_member(self, root: Path) -> None:
        (root / "train").rename(root / ".hidden")
        write_tar(root / "train.tar", {"../n01440764_0.JPEG": b"x"})
        assert "train.tar: the member ../n01440764_0.JPEG leads out of the archive's folder" in refused(
            source("imagenet_lt", root)
        )

    def test_images_may_not_be_held_out_in_place_of_the_lists(self, root: Path) -> None:
        assert "is the validation split already: give dataset.validation=0" in refused(
            source("imagenet_lt", root, validation=0.1)
        )

    def test_lists_may_have_other_names_and_places(self, root: Path) -> None:
        expected = Listing.of(source("imagenet_lt", root).open(CPU)).data
        (root / "elsewhere").mkdir()
        for split in ("train", "val", "test"):
            (root / f"ImageNet_LT_{split}.txt").rename(root / "elsewhere" / f"my {split}.txt")
        given = {"train": "my train.txt", "val": str(root / "elsewhere" / "my val.txt"), "test": "elsewhere/my test.txt"}
        found = source("imagenet_lt", root, lists=str(root / "elsewhere"), **given).open(CPU)
        assert Listing.of(found).data == expected

    def test_a_given_list_that_is_absent_is_named(self, root: Path) -> None:
        assert f"dataset.val: there is no list {root}/v.txt" in refused(source("imagenet_lt", root, val="v.txt"))


@pytest.mark.parametrize("missing", [-1, 1.5, float("nan")])
def test_a_limit_that_is_no_number_of_images_is_refused(missing: float) -> None:
    with pytest.raises(ConfigError, match="missing must be a number of images, or a share below 1"):
        source("imagenet_lt", Path("x"), missing=missing)
