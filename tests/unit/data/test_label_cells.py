"""Tables and folders whose images have several labels: cells, lists, empty cells, folder names, and what is refused."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from ltrun.data import ImageFolder, ImageTable, Splits
from ltrun.errors import ConfigError, DataError
from tests.support.data_fakes import encoded, random_images

CPU = torch.device("cpu")
pytestmark = pytest.mark.usefixtures("own_cache")


def images(root: Path, *names: str) -> Path:
    for n, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(encoded(random_images(1, 8, seed=n)[0]))
    return root


def write(root: Path, cells: list[Any], file: str = "labels.csv") -> Path:
    """A table with a training row for each cell, and a test row for the first."""
    rows = [(f"{n}.png", cell, "train") for n, cell in enumerate(cells)] + [("t.png", cells[0], "test")]
    images(root, *(row[0] for row in rows))
    records = [dict(zip(("image", "label", "split"), row, strict=True)) for row in rows]
    if file.endswith(".parquet"):
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records), root / file)
    elif file.endswith(".jsonl"):
        (root / file).write_text("".join(json.dumps(record) + "\n" for record in records))
    else:
        (root / file).write_text("image,label,split\n" + "".join(f'{a},"{b}",{c}\n' for a, b, c in rows))
    return root


def opened(root: Path, **more: Any) -> Splits:
    return ImageTable(str(root), image_size=4, task="multi_label", **more).open(CPU)


def sets(splits: Splits) -> list[list[str]]:
    return [[splits.names[label] for label in row.nonzero()[:, 0].tolist()] for row in splits.train.targets.labels]


CELLS = {
    "separated": ("labels.csv", ["ant;bee", " bee ; cat ", "cat", "ant;ant"]),
    "lists as text": ("labels.csv", ["['ant', 'bee']", "['bee', 'cat']", "['cat']", "['ant', 'ant']"]),
    "JSON lines": ("labels.jsonl", [["ant", "bee"], ["bee", "cat"], "cat", ["ant"]]),
    "Parquet": ("labels.parquet", [["ant", "bee"], ["bee", "cat"], ["cat"], ["ant"]]),
}


@pytest.mark.parametrize("file, cells", CELLS.values(), ids=CELLS.keys())
def test_cells_of_every_kind_hold_the_same_labels(tmp_path: Path, file: str, cells: list[Any]) -> None:
    splits = opened(write(tmp_path, cells, file))
    assert splits.names == ("ant", "bee", "cat")
    assert sets(splits) == [["ant", "bee"], ["bee", "cat"], ["cat"], ["ant"]]
    assert splits.stats.counts.tolist() == [2, 2, 2] and splits.stats.images == 4
    assert splits.test.targets.labels.tolist() == [[True, True, False]]


def test_numbers_are_sorted_by_size_and_name_known_classes(tmp_path: Path) -> None:
    splits = opened(write(tmp_path, ["10;2", "2;9", "9"]))
    assert splits.names == ("2", "9", "10") and sets(splits)[0] == ["2", "10"]
    (tmp_path / "names.txt").write_text("ant\nbee\ncat\n")
    assert opened(write(tmp_path, ["0|2", "1", "1|2"]), names="names.txt", separator="|").names == ("ant", "bee", "cat")


def test_an_empty_cell_is_refused_unless_it_means_no_label(tmp_path: Path) -> None:
    root = write(tmp_path, ["ant;bee", "", "bee", ";"])
    with pytest.raises(DataError, match=r"line 3: the cell of 'label' is empty, as in 1 more: .*dataset\.unlabelled=true"):
        opened(root)
    assert sets(opened(root, unlabelled=True)) == [["ant", "bee"], [], ["bee"], []]


def test_an_empty_list_is_an_image_without_labels_and_null_is_not(tmp_path: Path) -> None:
    assert sets(opened(write(tmp_path / "a", [["ant", "bee"], []], "labels.jsonl"))) == [["ant", "bee"], []]
    with pytest.raises(DataError, match="is empty"):
        opened(write(tmp_path / "b", [["ant", "bee"], None], "labels.jsonl"))


def test_one_label_per_image_warns_of_cells_that_look_like_several(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ImageTable(str(write(tmp_path / "a", ["ant;bee", "ant", "ant;bee"])), image_size=4).open(CPU)
    assert "'ant;bee' is one class here" in caplog.text and "dataset.task=multi_label" in caplog.text
    root = write(tmp_path / "b", [["ant"], ["bee"]], "labels.jsonl")
    with pytest.raises(DataError, match=r"'label' is a list, not one label: give dataset\.task=multi_label"):
        ImageTable(str(root), image_size=4).open(CPU)


@pytest.mark.parametrize("given", [{"separator": "|"}, {"unlabelled": True}, {"separator": "a", "task": "multi_label"}])
def test_options_of_several_labels_are_refused_where_they_mean_nothing(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ImageTable("x", **given)


def test_an_image_that_repeats_with_other_labels_is_refused(tmp_path: Path) -> None:
    root = write(tmp_path, ["ant;bee", "bee"])
    with (root / "labels.csv").open("a") as file:
        file.write("0.png,bee,train\n")
    with pytest.raises(DataError, match="has one label in line 2 and another in line 5"):
        opened(root)


def test_folders_are_named_by_the_labels_of_their_images(tmp_path: Path) -> None:
    train = ["bird;boat/a.png", "bird/a.png", "cat ; bird/a.png"]
    root = images(tmp_path, *(f"train/{name}" for name in train), "test/boat;cat/a.png")
    splits = ImageFolder(str(root), image_size=4, task="multi_label").open(CPU)
    assert splits.names == ("bird", "boat", "cat")
    assert sorted(sets(splits)) == [["bird"], ["bird", "boat"], ["bird", "cat"]]
    assert splits.test.targets.labels.tolist() == [[False, True, True]]


@pytest.mark.parametrize(
    "train, test, named",
    [
        (["ant;/a.png", "bee/a.png"], "ant/a.png", "has an empty label in its name"),
        (["ant/a.png"], "ant/a.png", "holds a single class, 'ant'"),
        (["ant;bee/a.png"], "ant;bees/a.png", "the label 'bees' of .* is unknown in training; did you mean 'bee'"),
    ],
)
def test_folder_names_that_cannot_be_labels_are_refused(tmp_path: Path, train: list[str], test: str, named: str) -> None:
    root = images(tmp_path, *(f"train/{name}" for name in train), f"test/{test}")
    with pytest.raises(DataError, match=named):
        ImageFolder(str(root), image_size=4, task="multi_label").open(CPU)


def test_a_share_of_each_class_is_held_out_for_testing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    names = [f"{labels}/{n}.png" for labels, count in {"a": 12, "a;b": 8, "b;c": 6, "c": 4}.items() for n in range(count)]
    splits = ImageFolder(str(images(tmp_path, *names)), image_size=4, task="multi_label", test_fraction=0.25).open(CPU)
    assert splits.test.targets.labels.sum(0).tolist() == [5, 4, 2]
    assert len(splits.train) + len(splits.test) == 30 and f"{len(splits.test)} of its 30 images" in caplog.text
