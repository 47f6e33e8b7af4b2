"""Bad parquet files of CIFAR: truncated, mislabelled or with broken images; one sentence names the file and the row."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from ltrun.data import CIFARLT
from tests.support.data_fakes import cifar, cifar_parquet, encoded, random_images, refused, write_parquet

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.parametrize("keep", [0.0, 0.3, 0.99])
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_truncated_parquet_is_named(tmp_path: Path, split: str, keep: float) -> None:
    cifar_parquet(tmp_path)
    file = tmp_path / f"{split}.parquet"
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content))])
    assert f"{file} cannot be read as parquet" in refused(cifar(tmp_path, download=True))


def test_a_truncated_parquet_of_the_real_cifar100_is_named(cifar100_root: Path, tmp_path: Path) -> None:
    with (cifar100_root / "test.parquet").open("rb") as file:
        (tmp_path / "train.parquet").write_bytes(file.read(1_000_000))
    (tmp_path / "test.parquet").symlink_to(cifar100_root / "test.parquet")
    assert str(tmp_path / "train.parquet") in refused(CIFARLT(100, str(tmp_path)))


def test_a_pipe_in_place_of_a_parquet_never_hangs(tmp_path: Path) -> None:
    cifar_parquet(tmp_path)
    (tmp_path / "train.parquet").unlink()
    os.mkfifo(tmp_path / "train.parquet")
    assert f"{tmp_path / 'train.parquet'} cannot be read as parquet, because it is a pipe" in refused(cifar(tmp_path))


def test_a_missing_test_parquet_is_named(tmp_path: Path) -> None:
    cifar_parquet(tmp_path)
    (tmp_path / "test.parquet").unlink()
    assert "test.parquet" in refused(cifar(tmp_path, download=True))


CELLS = [encoded(pixels) for pixels in random_images(20)]
LABELS = list(range(10)) * 2


def write_halves(root: Path, cells: Sequence[object], labels: Sequence[object], **columns: str) -> Path:
    write_parquet(root / "test.parquet", CELLS, LABELS)
    write_parquet(root / "train.parquet", cells, labels, **columns)
    return root / "train.parquet"


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        (b"", "is empty"),
        (b"no image at all", "not an image of a known kind"),
        (CELLS[0][:700], "cannot be read"),
        (CELLS[0][:200] + b"\xff" * 50 + CELLS[0][250:], "cannot be read"),
        (encoded(random_images(1, size=28)[0]), "is 28 x 28 pixels, not 32 x 32"),
        (None, "has no image bytes"),
    ],
)
def test_a_bad_image_in_a_parquet_is_named_by_its_row(tmp_path: Path, cell: bytes | None, words: str) -> None:
    file = write_halves(tmp_path, [*CELLS[:13], cell, *CELLS[14:]], LABELS)
    sentence = refused(cifar(tmp_path))
    assert f"{file}, row 13" in sentence
    assert words in sentence


def test_a_path_in_a_parquet_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(CELLS[0])
    cells = [{"bytes": None, "path": str(tmp_path / "x.png")}] * 20
    write_halves(tmp_path, cells, LABELS)
    assert "row 0, has no image bytes" in refused(cifar(tmp_path))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([*LABELS[:7], 10, *LABELS[8:]], "row 7: the label is 10, not one of 0 to 9"),
        ([*LABELS[:7], -1, *LABELS[8:]], "row 7: the label is -1"),
        ([*LABELS[:7], None, *LABELS[8:]], "row 7, has no label"),
        ([label % 9 for label in LABELS], "has no image of class 9 ('truck')"),
    ],
)
def test_labels_that_do_not_fit_the_classes_of_the_data_set_are_refused(
    tmp_path: Path, labels: list[object], words: str
) -> None:
    file = write_halves(tmp_path, CELLS, labels)
    sentence = refused(cifar(tmp_path))
    assert words in sentence
    assert str(file) in sentence


def test_unknown_columns_are_listed(tmp_path: Path) -> None:
    write_halves(tmp_path, CELLS, LABELS, image="picture", label="label")
    sentence = refused(cifar(tmp_path))
    assert "picture, label" in sentence
    assert "img" in sentence
