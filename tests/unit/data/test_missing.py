"""Missing images of lists and tables: left out up to a limit, refused with their names beyond it."""

import numpy as np
import pytest

from ltrun.data.missing import check_limit, leave_out
from ltrun.errors import ConfigError, DataError


def kept(present: list[bool], limit: float) -> list[int]:
    return leave_out(np.array(present), limit, "labels.csv", lambda row: f"{row}.jpg", "photos").tolist()


def test_a_whole_list_keeps_every_row_and_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    assert kept([True] * 3, 0) == [0, 1, 2]
    assert not caplog.messages


def test_one_missing_image_is_refused_with_its_name_and_the_limit_that_allows_it() -> None:
    with pytest.raises(DataError) as caught:
        kept([True, False, True], 0)
    assert str(caught.value) == (
        "1 of the 3 images of labels.csv is missing (1.jpg); looked in photos: put them there, or leave them out with "
        "dataset.missing=1"
    )


def test_up_to_the_limit_missing_images_are_left_out_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    assert kept([False, True, False, True], 2) == [1, 3]
    assert "2 of the 4 images of labels.csv are missing (0.jpg, 2.jpg)" in caplog.text
    with pytest.raises(DataError, match=r"dataset\.missing=2"):
        kept([False, True, False, True], 1)


def test_of_many_missing_images_the_first_five_are_named() -> None:
    with pytest.raises(DataError, match=r"the first of them 0\.jpg, 1\.jpg, 2\.jpg, 3\.jpg, 4\.jpg\)"):
        kept([False] * 7 + [True], 3)


def test_no_limit_allows_that_all_images_are_missing() -> None:
    with pytest.raises(DataError, match=r"2 of the 2 .*dataset\.root=FOLDER"):
        kept([False, False], 2)


def test_a_limit_below_1_is_a_share() -> None:
    assert kept([False, True, True, True], 0.25) == [1, 2, 3]
    with pytest.raises(DataError, match="2 of the 4 images"):
        kept([False, False, True, True], 0.4)


@pytest.mark.parametrize("limit", [-1, 1.5, float("nan"), float("inf")])
def test_a_limit_that_is_no_number_of_images_is_refused(limit: float) -> None:
    for good in (0, 0.001, 1, 20):
        check_limit(good)
    with pytest.raises(ConfigError, match="missing must be a number of images, or a share below 1"):
        check_limit(limit)
