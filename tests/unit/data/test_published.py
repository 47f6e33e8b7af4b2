"""Published counts: images, largest and smallest classes, and shot groups of the three data sets."""

import json
from pathlib import Path

import pytest

from ltrun.data.published import Name, benchmark
from ltrun.metrics import Shots


@pytest.mark.parametrize(
    ("name", "classes", "train", "largest", "smallest", "groups", "held"),
    [
        ("imagenet_lt", 1000, 115_846, 1280, 5, (385, 479, 136), {"val": 20_000, "test": 50_000}),
        ("places_lt", 365, 62_500, 4980, 5, (131, 163, 71), {"val": 7_300, "test": 36_500}),
        ("inat18", 8142, 437_513, 1000, 2, (842, 4076, 3224), {"test": 24_426}),
    ],
)
def test_the_counts_are_the_published_ones(
    name: Name, classes: int, train: int, largest: int, smallest: int, groups: tuple[int, ...], held: dict[str, int]
) -> None:
    known = benchmark(name)
    counts = known.counts["train"]
    assert len(known.classes) == len(set(known.classes)) == len(counts) == classes
    assert (counts.sum(), counts.max(), counts.min()) == (train, largest, smallest)
    shots = Shots()
    sizes = [shots.group(count) for count in counts.tolist()]
    assert tuple(sizes.count(group) for group in dict.fromkeys(("many", "medium", "few"))) == groups
    assert {split: int(found.sum()) for split, found in known.counts.items() if split != "train"} == held


@pytest.mark.parametrize(
    ("name", "file"),
    [("imagenet_lt", "ImageNet_LT_train_cls_freq.json"), ("inat18", "iNaturalist18_train_cls_freq.json")],
)
def test_the_counts_of_each_class_are_those_of_the_real_lists(shared_lists: Path, name: Name, file: str) -> None:
    assert benchmark(name).counts["train"].tolist() == json.loads((shared_lists / name / file).read_text())
