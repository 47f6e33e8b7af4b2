"""Tables of images: splits, classes and held-out images of a table, and rows that are refused or left out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from ltrun.data import ImageTable
from ltrun.errors import ConfigError
from tests.support.data_fakes import encoded, pixels_of, random_images, refused
from tests.support.narrow import present

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_cache")
Rows = Sequence[Sequence[object]]


def write(root: Path, rows: Rows, header: str = "image,label,split", file: str = "labels.csv", images: bool = True) -> Path:
    """Writes a table and, where they do not exist, its images, each with pixels of its own."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
    for n, row in enumerate(rows if images else ()):
        image = root / str(row[0])
        image.parent.mkdir(parents=True, exist_ok=True)
        if not image.exists():
            image.write_bytes(encoded(random_images(1, 8, seed=n)[0]))
    return root


def source(root: Path, **more: Any) -> ImageTable:
    return ImageTable(str(root), image_size=4, **more)


def of(name: str, label: object, count: int, *split: str) -> list[tuple[object, ...]]:
    return [(f"{name}{n}.png", label, *split) for n in range(count)]


SPLIT = [*of("a", "ant", 4, "train"), *of("b", "bee", 3, "train"), *of("x", "bee", 2, "test"), *of("y", "ant", 1, "valid")]


def test_a_table_has_the_splits_and_classes_of_its_rows(tmp_path: Path) -> None:
    splits = source(write(tmp_path, SPLIT)).open(CPU)
    assert splits.names == ("ant", "bee")
    assert splits.stats.counts.tolist() == [4, 3]
    assert splits.test.targets.labels.tolist() == [1, 1]
    assert present(splits.val).targets.labels.tolist() == [0]
    assert sorted(present(splits.train.files)) == ["a0.png", "a1.png", "a2.png", "a3.png", "b0.png", "b1.png", "b2.png"]


def test_every_row_has_the_pixels_of_its_file(tmp_path: Path) -> None:
    rows = [*of("sub/a", 1, 2, "train"), *of("b", 0, 2, "train"), *of("x", 0, 2, "test")]
    splits = ImageTable(str(write(tmp_path, rows)), image_size=8).open(CPU)
    images = torch.stack([torch.from_numpy(random_images(1, 8, seed=n)[0]) for n in range(6)]).permute(0, 3, 1, 2)
    names = list(present(splits.train.files))
    assert sorted(names) == ["b0.png", "b1.png", "sub/a0.png", "sub/a1.png"]
    order = [[row[0] for row in rows].index(name) for name in names]
    assert torch.equal(pixels_of(splits.train), images[order])
    assert splits.train.targets.labels.tolist() == [int(str(rows[n][1])) for n in order]


def test_without_a_column_for_splits_test_images_are_held_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path, [*of("a", "ant", 10), *of("b", "bee", 5)], "image,label")
    with caplog.at_level("INFO"):
        splits = source(root, validation=0.25).open(CPU)
    assert [splits.stats.counts.tolist(), len(present(splits.val)), len(splits.test)] == [[6, 3], 3, 3]
    assert "3 of its 15 images are held out for testing" in caplog.text


def test_validation_is_never_more_than_half_of_a_class(tmp_path: Path) -> None:
    rows = [*of("a", "ant", 3, "train"), *of("b", "bee", 4, "train"), *of("x", "bee", 2, "test")]
    splits = source(write(tmp_path, rows), validation=0.5).open(CPU)
    assert splits.stats.counts.tolist() == [2, 2]


def test_paths_may_be_relative_to_the_table(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [(f"deep/{name}", *rest) for name, *rest in SPLIT]
    write(tmp_path, rows)
    write(tmp_path, SPLIT, file="deep/labels.csv", images=False)
    with caplog.at_level("INFO"):
        splits = source(tmp_path, file="deep/labels.csv").open(CPU)
    assert min(present(splits.train.files)) == "deep/a0.png"
    assert f"relative to its folder, {tmp_path / 'deep'}" in caplog.text


def test_numbers_are_the_lines_of_the_file_of_names(tmp_path: Path) -> None:
    root = write(tmp_path, [*of("a", 1, 3, "train"), *of("b", 0, 2, "train"), *of("x", 0, 2, "test")])
    (tmp_path / "names.txt").write_text("bee\nant\n")
    splits = source(root, names="names.txt").open(CPU)
    assert (splits.names, splits.stats.counts.tolist()) == (("bee", "ant"), [2, 3])


@pytest.mark.parametrize("word", ["val", "dev", "Validation", "eval"])
def test_a_second_split_of_any_name_is_the_test_split(tmp_path: Path, word: str, caplog: pytest.LogCaptureFixture) -> None:
    rows = [*SPLIT[:7], *of("x", "bee", 2, word)]
    with caplog.at_level("INFO"):
        splits = source(write(tmp_path, rows)).open(CPU)
    assert (splits.val, len(splits.test)) == (None, 2)
    assert f"'{word}' is the test split" in caplog.text


def test_missing_images_are_counted_and_left_out_up_to_a_limit(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path, SPLIT)
    (root / "a1.png").unlink()
    said = refused(source(root))
    assert f"1 of the 10 images of {root / 'labels.csv'} is missing (a1.png); looked in {root}" in said
    assert "dataset.missing=1" in said
    assert source(root, missing=1).open(CPU).stats.counts.tolist() == [3, 3]


def test_a_repeated_row_counts_once_and_leakage_is_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert source(write(tmp_path, [*SPLIT, SPLIT[0]])).open(CPU).stats.counts.tolist() == [4, 3]
    assert "1 row is repeated, such as line 12 for a0.png" in caplog.text
    leaking = [*SPLIT, ("./a0.png", "ant", "test")]
    assert "a0.png is in train (line 2) and in test (line 12). This is leakage" in refused(source(write(tmp_path, leaking)))


def test_equal_files_in_two_splits_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path, SPLIT)
    (root / "x0.png").write_bytes((root / "b1.png").read_bytes())
    for _ in range(2):  # from the files, then from the cache
        caplog.clear()
        source(root).open(CPU)
        assert "1 image has the content of an image of another split, such as b1.png and x0.png" in caplog.text


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (("../up.png", "ant", "train"), "line 12: ../up.png lies outside"),
        (("/etc/passwd", "ant", "train"), "line 12: /etc/passwd lies outside"),
        (("C:\\photos\\a.png", "ant", "train"), "and is refused: write it relative to dataset.root"),
        (("", "ant", "train"), "line 12: it names no image"),
        (("z.png", "", "train"), "line 12: the label 'label' is empty"),
        (("z.png", "ant", "holdout"), "line 12: 'holdout' names no split: write train, val or test into its column 'split'"),
        (("z.png", "ant", ""), "line 12: the split is empty"),
        (("z.png", "cow", "test"), "line 12: the class 'cow' has no training image, but 1 in other splits"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path: Path, row: tuple[str, ...], said: str) -> None:
    write(tmp_path, SPLIT)
    (tmp_path / "z.png").write_bytes((tmp_path / "a0.png").read_bytes() + b"z")
    write(tmp_path, [*SPLIT, row], images=False)
    assert said in refused(source(tmp_path))


def test_a_class_with_one_image_cannot_be_tested(tmp_path: Path) -> None:
    root = write(tmp_path, [*of("a", "ant", 5), *of("b", "bee", 1)], "image,label")
    assert "class 'bee'" in refused(source(root))


def test_an_unreadable_image_is_named(tmp_path: Path) -> None:
    root = write(tmp_path, SPLIT)
    (root / "a2.png").write_bytes(b"no image")
    assert f"{root / 'a2.png'} is not an image of a known kind" in refused(source(root))
    assert source(root, skip_unreadable=True).open(CPU).skipped == 1


def test_a_table_that_is_not_there_is_refused_with_what_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "holds no table" in refused(source(tmp_path))
    write(tmp_path, SPLIT)
    with pytest.raises(ConfigError, match=r"label\.csv is not a file: .*did you mean 'labels\.csv'"):
        source(tmp_path, file="label.csv").open(CPU)
    write(tmp_path, SPLIT, file="other.csv", images=False)
    assert "holds 2 tables, labels.csv, other.csv: give one as dataset.file=FILE" in refused(source(tmp_path))
    monkeypatch.chdir(tmp_path.parent)
    with pytest.raises(ConfigError, match=r"dataset\.file is relative to dataset\.root"):
        source(tmp_path, file=f"{tmp_path.name}/labels.csv").open(CPU)
    assert "is not a folder: give dataset.root=FOLDER" in refused(source(tmp_path / "none"))


def test_a_table_without_training_rows_is_refused(tmp_path: Path) -> None:
    assert "has no training images" in refused(source(write(tmp_path, of("a", "ant", 3, "test"))))


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"test_fraction": 0.3}, r"is the test split, so dataset\.test_fraction=0\.3 has no effect"),
        ({"validation": 0.1}, r"is the validation split already: give dataset\.validation=0"),
        ({"label": "lable"}, r"dataset\.label: .* has no column 'lable'; did you mean 'label'"),
        ({"missing": -1}, "missing must be a number of images"),
    ],
)
def test_an_option_that_does_not_fit_the_table_is_refused(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    write(tmp_path, SPLIT)
    with pytest.raises(ConfigError, match=said):
        source(tmp_path, **more).open(CPU)


def test_a_hundred_thousand_rows_need_no_stat_but_one_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call for each row would show in the count; how long a machine takes is not asserted."""
    rows = [*of("a", "ant", 300), *of("b", "bee", 300)]
    write(tmp_path, rows, "image,label")
    calls, stat = [], Path.stat
    monkeypatch.setattr(Path, "stat", lambda path, **how: calls.append(path) or stat(path, **how))  # type: ignore[func-returns-value]
    source(tmp_path, streamed=True, workers=0).find()
    assert len(calls) <= 2 * len(rows) + 20
