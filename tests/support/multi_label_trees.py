"""Small data sets with several labels an image, in the layouts of VOC and COCO: coloured shapes that a network learns."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from ltrun.data.label_sets import label_sets

VOC_NAMES, COCO_NAMES = label_sets("voc_lt").classes, label_sets("coco_lt").classes

GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)  # category ids from 1 to 90 that COCO leaves out
CATEGORY_IDS = tuple(number for number in range(1, 91) if number not in GAPS)
SHAPES = ("square", "disc", "ring", "cross")
SIZE = (80, 60)  # pixels across and down


@dataclass(frozen=True)
class Tree:
    """A data set on disk. train, test: name of each image without its ending -> its labels, numbers of classes.

    dropped: name -> the labels that only difficult objects or crowds have, which `labels` include.
    """

    root: Path
    train: Mapping[str, tuple[int, ...]]
    test: Mapping[str, tuple[int, ...]]
    dropped: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


def picture(labels: Sequence[int], seed: int) -> Image.Image:
    """An image of 80 x 60 pixels: for each label a shape in the label's colour, at a place of its own on grey noise."""
    draw = np.random.RandomState(seed)
    noise = draw.randint(96, 160, (SIZE[1] // 4, SIZE[0] // 4, 1), dtype=np.uint8).repeat(3, 2).repeat(4, 0).repeat(4, 1)
    image = Image.fromarray(noise)
    pen = ImageDraw.Draw(image)
    places = draw.permutation(12)
    for label, place in zip(labels, places.tolist(), strict=False):
        left, top = 20 * (place % 4) + 2, 20 * (place // 4) + 2
        box, colour = (left, top, left + 15, top + 15), f"hsv({round(label * 222.49) % 360},95%,{95 - 45 * (label % 2)}%)"
        shape = SHAPES[label % len(SHAPES)]
        if shape == "square":
            pen.rectangle(box, fill=colour)
        elif shape == "cross":
            pen.line((left, top, left + 15, top + 15), fill=colour, width=6)
            pen.line((left, top + 15, left + 15, top), fill=colour, width=6)
        else:
            pen.ellipse(box, fill=colour if shape == "disc" else None, outline=colour, width=5)
    return image


def long_tailed(classes: int, images: int, seed: int, least: int = 2) -> list[tuple[int, ...]]:
    """The labels of some images: the first class in a third of them and the rarest in at least `least`."""
    draw = np.random.RandomState(seed)
    counts = np.maximum(least, images / 3 * np.exp(-6 * np.arange(classes) / classes)).astype(int)
    sets: list[set[int]] = [set() for _ in range(images)]
    for label in np.argsort(counts, kind="stable").tolist():
        free = sorted(range(images), key=lambda row: (len(sets[row]) // 3, draw.rand()))
        for row in free[: counts[label]]:
            sets[row].add(label)
    return [tuple(sorted(labels)) or (0,) for labels in sets]


def voc_tree(folder: Path, images: int = 60, test: int = 40, seed: int = 0) -> Tree:
    """A VOCdevkit below a folder: annotations in XML, the ids of the training images in img_id.txt, no lists with labels.

    Of the test images the first has no object, the second none that is not difficult, and the third one difficult object more.
    """
    root = folder / "VOCdevkit"
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    dropped: dict[str, tuple[int, ...]] = {}
    for year, split, count in (("VOC2012", "train", images), ("VOC2007", "test", test)):
        for place in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / year / place).mkdir(parents=True, exist_ok=True)
        found[split] = {}
        for row, labels in enumerate(long_tailed(len(VOC_NAMES), count, seed + len(found))):
            name = f"2008_{row:06}" if split == "train" else f"{row + 1:06}"
            hard: tuple[int, ...] = ()
            if split == "test" and row < 3:
                labels = ((), (19,), tuple(sorted({*labels, 18})))[row]
                hard = ((), (19,), (18,))[row]
            found[split][name], dropped[name] = labels, hard
            picture(labels, 1000 * len(found) + row + seed).save(root / year / "JPEGImages" / f"{name}.jpg", quality=95)
            objects = [(VOC_NAMES[label], label in hard) for label in labels]
            (root / year / "Annotations" / f"{name}.xml").write_text(voc_xml(name, objects))
        names = "".join(f"{name}\n" for name in found[split])
        (root / year / "ImageSets" / "Main" / ("trainval.txt" if split == "train" else "test.txt")).write_text(names)
    (folder / "img_id.txt").write_text("".join(f"{name}\n" for name in found["train"]))
    return Tree(folder, found["train"], found["test"], dropped)


def voc_xml(name: str, objects: Sequence[tuple[str, bool]]) -> str:
    """The annotation of an image. objects: the class of each, and whether it is difficult."""
    rows = "".join(
        f"<object><name>{kind}</name><difficult>{int(hard)}</difficult><part><name>head</name></part></object>"
        for kind, hard in objects
    )
    return f"<annotation><filename>{name}.jpg</filename>{rows}</annotation>"


def coco_tree(folder: Path, images: int = 160, test: int = 60, seed: int = 0) -> Tree:
    """train2017, val2017 and annotations below a folder: category ids with gaps, the training images in coco_lt_train.txt.

    Of the test images the first has no annotation, the second a crowd alone, and the third a crowd beside its other labels.
    """
    categories = [{"id": number, "name": name} for number, name in zip(CATEGORY_IDS, COCO_NAMES, strict=True)]
    found: dict[str, dict[str, tuple[int, ...]]] = {}
    dropped: dict[str, tuple[int, ...]] = {}
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for place, split, count in (("train2017", "train", images), ("val2017", "test", test)):
        (folder / place).mkdir(exist_ok=True)
        found[split], rows = {}, []
        for row, labels in enumerate(long_tailed(len(COCO_NAMES), count, seed + len(found))):
            number = 1000 * len(found) + 7 * row
            name = f"{number:012}"
            hard: tuple[int, ...] = ()
            if split == "test" and row < 3:
                labels = ((), (79,), tuple(sorted({*labels, 78})))[row]
                hard = ((), (79,), (78,))[row]
            found[split][name], dropped[name] = labels, hard
            picture(labels, number + seed).save(folder / place / f"{name}.jpg", quality=95)
            rows += [(number, CATEGORY_IDS[label], label in hard) for label in labels]
        content = coco_json([(int(name), f"{name}.jpg") for name in found[split]], rows, categories)
        (folder / "annotations" / f"instances_{place}.json").write_text(content)
    (folder / "coco_lt_train.txt").write_text("".join(f"train2017/{name}.jpg \n" for name in found["train"]))
    return Tree(folder, found["train"], found["test"], dropped)


def coco_json(
    images: Sequence[tuple[int, str]],
    rows: Sequence[tuple[int, int, bool]],
    categories: Sequence[Mapping[str, object]],
    year: int = 2017,
) -> str:
    """Annotations as COCO writes them. images: id and file name. rows: image id, category id, whether a crowd."""
    annotations = [
        {"id": k, "image_id": image, "category_id": category, "iscrowd": int(crowd), "bbox": [0, 0, 15, 15], "area": 225}
        for k, (image, category, crowd) in enumerate(rows)
    ]
    listed = [{"id": number, "file_name": name} for number, name in images]
    return json.dumps({"info": {"year": year}, "images": listed, "annotations": annotations, "categories": categories})
