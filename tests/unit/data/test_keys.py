"""Keys of images: all spellings of one image have one key, and different images have different keys."""

import pytest

from ltrun.data.keys import IMAGENET, INATURALIST, PLACES, Keys

HASH = "9f8ecb39e5f767e39e9b28e34488f179"
SPELLINGS = [
    (IMAGENET, "n01440764_762", "n01440764", [
        "train/n01440764/n01440764_762.JPEG", "ILSVRC/Data/CLS-LOC/train/n01440764/n01440764_762.JPEG",
        "n01440764_762.JPEG", "n01440764_762_n01440764.JPEG", "n01440764/n01440764_762.jpg",
    ]),
    (IMAGENET, "ILSVRC2012_val_00029930", "n01440764", ["val/n01440764/ILSVRC2012_val_00029930.JPEG"]),
    (IMAGENET, "ILSVRC2012_val_00029930", None, [
        "val/ILSVRC2012_val_00029930.JPEG", "ILSVRC2012_val_00029930.JPEG", "ILSVRC2012_val_00029930_n01440764.JPEG",
    ]),
    (PLACES, "airfield/00004851", "airfield", [
        "train/airfield/00004851.jpg", "data_256/a/airfield/00004851.jpg", "places365_standard/train/airfield/00004851.jpg",
        "data_large/a/airfield/00004851.jpg", "a/airfield/00004851.jpg", "airfield/00004851.jpg",
    ]),
    (PLACES, "apartment_building-outdoor/00000794", "apartment_building-outdoor", [
        "train/apartment_building-outdoor/00000794.jpg", "data_256/a/apartment_building/outdoor/00000794.jpg",
        "train/apartment_building/outdoor/00000794.jpg",
    ]),
    (PLACES, "train_interior/00000001", "train_interior", [
        "train/train_interior/00000001.jpg", "data_256/t/train_interior/00000001.jpg",
    ]),
    (PLACES, "Places365_val_00003597", "airfield", ["val/airfield/Places365_val_00003597.jpg"]),
    (PLACES, "Places365_val_00003597", None, ["val_256/Places365_val_00003597.jpg", "val/Places365_val_00003597.jpg"]),
    (INATURALIST, HASH, "7291", [f"train_val2018/Plantae/7291/{HASH}.jpg", f"Plantae/7291/{HASH}.jpg"]),
    (INATURALIST, HASH, None, [f"train_val2018/{HASH}.jpg"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("keys", "key", "name", "path"), [(keys, key, name, path) for keys, key, name, paths in SPELLINGS for path in paths]
)
def test_each_spelling_of_an_image_has_its_key_and_shows_its_class(keys: Keys, key: str, name: str | None, path: str) -> None:
    assert keys.of(path) == key
    assert keys.class_of(path) == name
    assert keys.known.match(key)


def test_images_of_two_classes_of_places_with_one_number_stay_apart() -> None:
    assert PLACES.of("train/airfield/00000794.jpg") != PLACES.of("train/alley/00000794.jpg")


@pytest.mark.parametrize(("keys", "others"), [
    (IMAGENET, ["airfield/00004851", "Places365_val_00003597", HASH, "val_68"]),
    (PLACES, ["n01440764_762", "ILSVRC2012_val_00029930", HASH]),
    (INATURALIST, ["n01440764_762", "airfield/00004851"]),
])  # fmt: skip
def test_a_key_of_another_collection_is_not_known(keys: Keys, others: list[str]) -> None:
    assert not [key for key in others if keys.known.match(key)]
