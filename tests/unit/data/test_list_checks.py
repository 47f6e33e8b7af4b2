"""Comparison with the published lists: another collection, another order of the classes, other counts."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from ltrun.data.list_checks import checked
from ltrun.data.lists import ImageList, read_list
from ltrun.data.published import Benchmark, benchmark
from ltrun.errors import DataError
from tests.support.listed_images import PLACES, WNIDS, small

COUNTS = (3, 5, 2)
IMAGENET = small("imagenet_lt", WNIDS, COUNTS, val=1, test=2)
INAT_CLASSES = tuple(map(str, range(11)))
INAT = small("inat18", INAT_CLASSES, (4, 9, 7, 6, 5, 3, 2, 8, 12, 10, 11), test=3)
SPECIES = ("Bufo bufo", "Apis mellifera", "Corvus corax", *(f"Zea {c}" for c in "abcdefgh"))


def given(paths: Sequence[str], labels: list[int]) -> ImageList:
    return ImageList(Path("given.txt"), paths, np.array(labels))


def imagenet(counts: tuple[int, ...] = COUNTS, order: tuple[int, ...] = (0, 1, 2), folder: str = "train/{}/") -> ImageList:
    rows = [(f"{folder.format(WNIDS[c])}{WNIDS[c]}_{k}.JPEG", order[c]) for c, count in enumerate(counts) for k in range(count)]
    return given([path for path, _ in rows], [label for _, label in rows])


def inat(order: list[int], folder: Callable[[int], str] = lambda c: f"train_val2018/Aves/{c}/") -> ImageList:
    rows = [(f"{folder(c)}{100 * c + k:032x}.jpg", order[c]) for c, n in enumerate(INAT.counts["train"]) for k in range(n)]
    return given([path for path, _ in rows], [label for _, label in rows])


def refused(found: ImageList, split: str, known: Benchmark) -> str:
    with pytest.raises(DataError) as caught:
        checked(found, split, known, known.classes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_list_as_published_is_taken_as_it_is() -> None:
    found, notes = checked(imagenet(), "train", IMAGENET, WNIDS)
    assert found.labels.tolist() == imagenet().labels.tolist()
    assert notes == ["given.txt: 10 images, as many of each class as the published training list of ImageNet-LT"]


def test_one_image_of_another_class_shows_although_the_sum_is_the_published_one() -> None:
    sentence = refused(imagenet((3, 4, 3)), "train", IMAGENET)
    assert sentence.startswith("given.txt: 10 images, but ImageNet-LT has 10: class 'n01443537' has 4 here and 5 as published")
    assert "and 1 more classes differ; get the list from github.com" in sentence


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("train/airfield/00004851.jpg", "Places-LT"),
        ("val/alley/Places365_val_00000001.jpg", "Places-LT"),
        ("train_val2018/Plantae/7291/9f8ecb39e5f767e39e9b28e34488f179.jpg", "iNaturalist 2018"),
    ],
)
def test_a_list_of_another_data_set_is_named(path: str, title: str) -> None:
    paths = [*imagenet().paths[:-1], path]
    sentence = refused(given(paths, [0] * len(paths)), "train", IMAGENET)
    assert f"is a list of {title}, not of ImageNet-LT: it names {path}" in sentence


def test_a_list_of_images_that_no_data_set_has_is_refused_with_the_form_of_names() -> None:
    assert "images of ImageNet-LT are named as n01440764_762" in refused(given(["a/cat.jpg"], [0]), "train", IMAGENET)


def test_a_list_in_the_place_of_another_is_named() -> None:
    assert "is the test list of ImageNet-LT, not the training list" in refused(imagenet((2, 2, 2)), "train", IMAGENET)
    assert "is the training list of ImageNet-LT, not the test list" in refused(imagenet(), "test", IMAGENET)
    assert "is the test list of ImageNet-LT, not the validation list" in refused(imagenet((2, 2, 2)), "val", IMAGENET)


def test_the_validation_list_may_be_the_test_split_and_that_is_said() -> None:
    _, (note,) = checked(imagenet((1, 1, 1)), "test", IMAGENET, WNIDS)
    assert note == (
        "given.txt: 3 images: the published validation list of ImageNet-LT, used as test split in place of the 6 test images"
    )


def test_a_label_beyond_the_classes_is_refused() -> None:
    sentence = refused(given(imagenet().paths, [*imagenet().labels[:-1], 3]), "train", IMAGENET)
    assert f"{imagenet().paths[-1]} has label 3, but ImageNet-LT has 3 classes, 0 to 2" in sentence


TEXT = [sorted(INAT_CLASSES).index(name) for name in INAT_CLASSES]
FALLING = [int(rank) for rank in np.argsort(np.argsort(-INAT.counts["train"]))]
NAMED = [sorted(SPECIES).index(name) for name in SPECIES]


@pytest.mark.parametrize(
    ("order", "said"),
    [
        (TEXT, "by their names as text ('0', '1', '10', '100')"),
        (FALLING, "by falling number of training images"),
        (NAMED, "by sorted names of the species"),
        ([1, 0, 2, 3, 4, 5, 6, 7, 8, 10, 9], "by an order of its own"),
    ],
    ids=["text", "falling", "species", "any"],
)
def test_another_order_of_the_classes_is_named_and_put_right(order: list[int], said: str) -> None:
    found, notes = checked(inat(order), "train", INAT, SPECIES)
    assert said in notes[0] and "put into the published order" in notes[0]
    assert found.labels.tolist() == inat(list(range(11))).labels.tolist()
    assert "as many of each class as the published" in notes[1]


def test_a_string_sorted_list_whose_paths_show_no_class_is_named_and_refused() -> None:
    sentence = refused(inat(TEXT, lambda c: "train_val2018/"), "train", INAT)
    assert "in classes numbered by their names as text ('0', '1', '10', '100'), as folders are sorted" in sentence
    assert "no path shows its class" in sentence


def test_a_class_of_two_labels_and_two_classes_of_one_label_are_refused() -> None:
    labels = [0, 0, 1, *imagenet().labels[3:].tolist()]
    assert "label 1, and other images of class 'n01440764' label 0" in refused(
        given(imagenet().paths, labels), "train", IMAGENET
    )
    assert "gives the classes 'n01440764' and 'n01443537' one label, 0" in refused(imagenet(order=(0, 0, 1)), "train", IMAGENET)


def test_nested_classes_of_places_are_told_in_both_spellings() -> None:
    known = small("places_lt", PLACES, (1, 1, 1))
    spelled = ["data_256/a/airfield/00000001.jpg", "data_256/a/apartment_building/outdoor/00000001.jpg"]
    found, _ = checked(given([*spelled, "train/train_interior/00000001.jpg"], [1, 2, 0]), "train", known, PLACES)
    assert found.labels.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("name", "file", "split", "images"),
    [
        ("imagenet_lt", "ImageNet_LT_val.txt", "val", 20_000),
        ("imagenet_lt", "ImageNet_LT_test.txt", "test", 50_000),
        ("places_lt", "Places_LT_train.txt", "train", 62_500),
        ("places_lt", "Places_LT_val.txt", "val", 7_300),
        ("places_lt", "Places_LT_test.txt", "test", 36_500),
        ("inat18", "iNaturalist18_val.txt", "test", 24_426),
    ],
)
def test_the_real_lists_are_the_published_ones(shared_lists: Path, name: str, file: str, split: str, images: int) -> None:
    known = benchmark(name)  # type: ignore[arg-type]
    real = read_list(shared_lists / name / file)
    found, notes = checked(real, split, known, known.classes)
    assert len(notes) == 1 and f"{images:,} images, as many of each class as the published" in notes[0]
    assert found is real and len(set(real.keys(known.keys))) == images


def test_the_real_validation_list_of_places_is_told_from_its_test_list(shared_lists: Path) -> None:
    known = benchmark("places_lt")
    _, (note,) = checked(read_list(shared_lists / "places_lt" / "Places_LT_val.txt"), "test", known, known.classes)
    assert "7,300 images: the published validation list of Places-LT, used as test split in place of the 36,500" in note


def test_the_real_validation_list_of_inaturalist_sorted_as_text_is_named(shared_lists: Path) -> None:
    known = benchmark("inat18")
    real = read_list(shared_lists / "inat18" / "iNaturalist18_val.txt")
    ranks = {name: rank for rank, name in enumerate(sorted(known.classes))}
    sorted_as_text = given(list(real.paths), [ranks[str(label)] for label in real.labels.tolist()])
    found, notes = checked(sorted_as_text, "test", known, known.classes)
    assert "by their names as text" in notes[0]
    assert found.labels.tolist() == real.labels.tolist()


def test_part_of_the_real_training_list_is_refused(shared_lists: Path) -> None:
    part = read_list(shared_lists / "imagenet_lt" / "ImageNet_LT_train_30.txt")
    sentence = refused(part, "train", benchmark("imagenet_lt"))
    assert "2,289 images, but ImageNet-LT has 115,846: class 'n01440764' has 0 here and 50 as published" in sentence
