"""Differences between the data of two runs, as far as both records identify them."""

from typing import Any

import pytest

from ltrun.results.identity import Identity, differences, identity


def data(classes: tuple[str, ...] = ("ant", "bee"), val: bool = False, **test: Any) -> Identity:
    split: Any = {"images": 5, "labels": "a" * 16, "files": "b" * 16, "sizes": "c" * 16, "pixels": "d" * 16}
    return identity(classes, {"train": split, "test": split | test} | ({"val": split} if val else {}))


@pytest.mark.parametrize(
    ("other", "key", "said"),
    [
        (data(pixels="0" * 16), "test", "the pixels of the test images differ, although their files have the same names"),
        (data(pixels="0" * 16, files="1" * 16), "test", "the pixels of the test images differ"),
        (data(labels="0" * 16), "test", "the labels of the test images, or their order, differ"),
        (data(images=6, labels="0" * 16), "test", "the test images differ: 6 now, 5 then"),
        (data(pixels=None, files="0" * 16), "test", "the names of the test images differ"),
        (data(pixels=None, sizes="0" * 16), "test", "the sizes of the files of the test images differ"),
        (data(("bee", "ant")), "classes", "the names of the classes, or their order, differ"),
        (data(val=True), "val", "there are validation images now"),
    ],
)
def test_differences_are_named(other: Identity, key: str, said: str) -> None:
    assert differences(data(), other) == {key: said}
    assert set(differences(other, data())) == {key}
    assert data()["digest"] != other["digest"]


@pytest.mark.parametrize(
    "other",
    [
        data(),
        data(pixels=None),  # streamed
        data(files="0" * 16, sizes=None),  # another format of the same images
    ],
)
def test_data_that_agree_as_far_as_both_know_do_not_differ(other: Identity) -> None:
    assert differences(data(), other) == differences(other, data()) == {}


def test_records_of_earlier_formats_differ_from_nothing() -> None:
    assert differences({}, data()) == differences(data(), {}) == {}


def test_names_are_no_part_of_a_digest_where_pixels_are_known() -> None:
    assert data()["digest"] == data(files="0" * 16, sizes=None)["digest"]
    assert data()["digest"] == "5bfc47fb9ad5ee8f", "the same on every machine"
