"""VOC-LT and COCO-LT in their official layouts: lists, annotations, difficult objects, crowds, and images without labels."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from ltrun.data import COCOLT, VOCLT, Splits
from ltrun.data.describe import describe
from tests.support.data_fakes import CPU
from tests.support.multi_label_trees import Tree, coco_tree, voc_tree

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return voc_tree(tmp_path_factory.mktemp("voc"), images=50, test=12)


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return coco_tree(tmp_path_factory.mktemp("coco"), images=60, test=12)


def labels_of(splits: Splits, split: str) -> dict[str, tuple[int, ...]]:
    """Name of each image -> its labels."""
    store = {"train": splits.train, "test": splits.test}[split]
    hot = store.targets.labels
    assert hot.dtype == torch.bool and hot.shape == (len(store), len(splits.names))
    return {Path(name).stem: tuple(row.nonzero()[:, 0].tolist()) for name, row in zip(store.files, hot, strict=True)}


def test_voc_gives_each_image_the_labels_of_its_objects(voc: Tree) -> None:
    splits = VOCLT(root=str(voc.root), image_size=16, stretch=True).open(CPU)
    assert labels_of(splits, "train") == voc.train
    assert labels_of(splits, "test") == voc.test
    assert splits.names[0] == "aeroplane" and splits.names[19] == "tvmonitor" and splits.val is None
    assert splits.stats.counts.tolist() == np.bincount(sum(voc.train.values(), ()), minlength=20).tolist()


def test_voc_without_difficult_objects_keeps_images_that_have_no_other(voc: Tree) -> None:
    splits = VOCLT(root=str(voc.root), image_size=16, difficult="drop").open(CPU)
    easy = {name: tuple(label for label in labels if label not in voc.dropped[name]) for name, labels in voc.test.items()}
    assert labels_of(splits, "test") == easy
    assert easy["000002"] == () and voc.test["000002"] == (19,)


def test_coco_maps_ids_with_gaps_by_rank_and_crowds_count_as_in_the_original_code(coco: Tree) -> None:
    splits = COCOLT(root=str(coco.root), image_size=16).open(CPU)
    assert labels_of(splits, "train") == coco.train and labels_of(splits, "test") == coco.test
    assert splits.names[79] == "toothbrush"
    without = COCOLT(root=str(coco.root), image_size=16, crowd="drop").open(CPU)
    alone = {name: tuple(label for label in labels if label not in coco.dropped[name]) for name, labels in coco.test.items()}
    assert labels_of(without, "test") == alone != coco.test


def moved(tree: Tree, root: Path, places: dict[str, str], lists: str) -> Path:
    """Copies the folders of a tree to other places."""
    for here, there in places.items():
        shutil.copytree(tree.root / here, root / there)
    (root / "lists").mkdir(exist_ok=True)
    shutil.copy(tree.root / lists, root / "lists")
    return root


VOC_YEARS = {"VOCdevkit/VOC2012": "VOC2012", "VOCdevkit/VOC2007": "VOC2007"}
KAGGLE = {"VOCdevkit/VOC2012": "trainval/VOCdevkit/VOC2012", "VOCdevkit/VOC2007": "VOCdevkit/VOC2007"}


@pytest.mark.parametrize("places", [VOC_YEARS, KAGGLE], ids=["years side by side", "each archive in a folder"])
def test_voc_is_found_in_other_layouts(voc: Tree, tmp_path: Path, places: dict[str, str]) -> None:
    splits = VOCLT(root=str(moved(voc, tmp_path, places, "img_id.txt")), image_size=16).open(CPU)
    assert labels_of(splits, "train") == voc.train and labels_of(splits, "test") == voc.test


def test_coco_is_found_below_images_and_under_the_names_of_2014(coco: Tree, tmp_path: Path) -> None:
    folders = {"train2017": "images/train2017", "val2017": "images/val2017", "annotations": "annotations"}
    root = moved(coco, tmp_path / "below", folders, "coco_lt_train.txt")
    assert labels_of(COCOLT(root=str(root), image_size=16).open(CPU), "test") == coco.test
    old = moved(coco, tmp_path / "old", {"annotations": "annotations"}, "coco_lt_train.txt")
    for place in ("train2017", "val2017"):
        (old / place.replace("17", "14")).mkdir()
        for image in (coco.root / place).iterdir():
            shutil.copy(image, old / place.replace("17", "14") / f"COCO_{place.replace('17', '14')}_{image.name}")
    splits = COCOLT(root=str(old), image_size=16).open(CPU)
    assert len(splits.train) == 60 and not splits.test.targets.labels[0].any()
    assert any("folders of 2014" in note for note in splits.notes)


def test_streamed_images_are_stretched_as_resident_ones(voc: Tree) -> None:
    held = VOCLT(root=str(voc.root), image_size=16, stretch=True, streamed=False).open(CPU)
    read = VOCLT(root=str(voc.root), image_size=16, stretch=True, streamed=True, workers=0).open(CPU)
    rows = [torch.arange(5)]
    one, two = next(iter(held.train.open(rows))), next(iter(read.train.open(rows)))
    assert torch.equal(one.inputs, two.inputs)
    assert torch.equal(one.targets.labels, two.targets.labels)


def test_a_validation_share_has_every_class_that_has_two_images(voc: Tree) -> None:
    splits = VOCLT(root=str(voc.root), image_size=16, validation=0.2).open(CPU)
    assert splits.val is not None
    held, kept = splits.val.targets.labels.sum(0), splits.train.targets.labels.sum(0)
    assert (held + kept == torch.from_numpy(np.bincount(sum(voc.train.values(), ()), minlength=20))).all()
    assert (kept >= held).all() and (held > 0).float().mean() > 0.9


def test_the_description_counts_labels_and_images_without_one(voc: Tree) -> None:
    screen = io.StringIO()
    describe("voc_lt", VOCLT(root=str(voc.root), image_size=16).open(CPU), Console(file=screen, width=120), many=99)
    said = screen.getvalue()
    labels = [len(labels) for labels in voc.train.values()]
    assert f"{sum(labels) / 50:.3g} labels per training image, at most {max(labels)}; 0 training images without a label" in said
    assert "test: 12 images labelled by their annotations; 1 of them have no label" in said
    assert "> 99" in said and "labels " in said
