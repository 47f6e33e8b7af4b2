"""VOC-LT and COCO-LT whose lists or annotations are missing, damaged or of another data set: refused in a sentence."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ltrun.data import COCOLT, VOCLT, ImageTable
from ltrun.data.label_sets import Name, compared, label_sets, read_sets
from ltrun.errors import ConfigError, DataError
from tests.support.data_fakes import CPU
from tests.support.multi_label_trees import coco_tree, voc_tree, voc_xml

pytestmark = pytest.mark.usefixtures("own_cache")
TRAIN_JSON, VAL_JSON = "annotations/instances_train2017.json", "annotations/instances_val2017.json"


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trees")
    voc_tree(root / "voc", images=50, test=6)
    coco_tree(root / "coco", images=60, test=6)
    return root


@pytest.fixture
def voc(trees: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trees / "voc", tmp_path / "voc"))


@pytest.fixture
def coco(trees: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trees / "coco", tmp_path / "coco"))


def refused(source: VOCLT | COCOLT) -> str:
    with pytest.raises((DataError, ConfigError)) as caught:
        source.open(CPU)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_missing_annotations_of_voc_2007_name_the_archive_that_holds_them(voc: Path) -> None:
    for file in (voc / "VOCdevkit" / "VOC2007" / "Annotations").iterdir():
        file.unlink()
    said = refused(VOCLT(root=str(voc), image_size=16))
    assert "6 of 6 annotations of the test images are missing" in said
    assert "VOCtest_06-Nov-2007.tar" in said and "000001.xml" in said


@pytest.mark.parametrize(
    "content, named",
    [
        (voc_xml("000001", [("zebra", False)]), "the object 'zebra' is none of the 20 classes"),
        ("<annotation><object>", "cannot be read as XML"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "is no annotation of VOC"),
        ("", "is no annotation of VOC"),
    ],
)
def test_a_damaged_annotation_of_voc_is_named(voc: Path, content: str, named: str) -> None:
    (voc / "VOCdevkit" / "VOC2007" / "Annotations" / "000001.xml").write_text(content)
    said = refused(VOCLT(root=str(voc), image_size=16))
    assert named in said and "000001.xml" in said


def changed(file: Path, **changes: Any) -> None:
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {key: value(content[key]) for key, value in changes.items()}))


def test_a_json_of_the_other_year_is_refused(coco: Path) -> None:
    file = coco / VAL_JSON
    changed(file, info=lambda info: {"year": 2014})
    assert "instances_val2017.json is of the year 2014, and COCO-LT is of 2017" in refused(
        COCOLT(root=str(coco), image_size=16)
    )
    changed(file, info=lambda info: {}, images=lambda rows: [{**rows[0], "file_name": f"COCO_val2014_{rows[0]['file_name']}"}])
    assert "names COCO_val2014_000000002000.jpg" in refused(COCOLT(root=str(coco), image_size=16))


def test_a_category_that_the_json_does_not_list_is_refused_by_its_number(coco: Path) -> None:
    changed(coco / VAL_JSON, annotations=lambda rows: [{**rows[0], "category_id": 12}, *rows[1:]])
    assert "has category_id 12, which is none of its categories" in refused(COCOLT(root=str(coco), image_size=16))


def test_other_categories_and_other_files_are_refused(coco: Path) -> None:
    kept = (coco / TRAIN_JSON).read_bytes()
    changed(coco / TRAIN_JSON, categories=lambda rows: [{**row, "name": f"stuff {row['id']}"} for row in rows])
    assert "80 categories that are not the 80 of COCO's instances" in refused(COCOLT(root=str(coco), image_size=16))
    (coco / TRAIN_JSON).write_text('{"images": 3}')
    assert "does not hold the instances of COCO" in refused(COCOLT(root=str(coco), image_size=16))
    (coco / TRAIN_JSON).write_bytes((coco / VAL_JSON).read_bytes())
    assert "lacks 60 of the 60 images" in refused(COCOLT(root=str(coco), image_size=16))
    (coco / TRAIN_JSON).unlink()
    assert "instances_train2017.json is missing" in refused(COCOLT(root=str(coco), image_size=16))
    (coco / TRAIN_JSON).write_bytes(kept)
    (coco / VAL_JSON).unlink()
    assert "the test list of COCO-LT is missing" in refused(COCOLT(root=str(coco), image_size=16))


@pytest.mark.parametrize(
    "line, named",
    [
        ("2008_000001 20", "line 1: the label '20' of 2008_000001 is none of the 20 classes of VOC-LT, numbered from 0 to 19"),
        ("2008_000001 cat", "the label 'cat' of 2008_000001"),
        ("train2017/000000554625.jpg 3", "images of VOC-LT are named as 2008_000023.jpg"),
        ("", "is empty"),
        ("2008_000001 3\n2008_000001 4", "2 images, but the training list of VOC-LT has 1,142"),
    ],
)
def test_a_list_that_is_not_the_published_one_is_refused(voc: Path, line: str, named: str) -> None:
    (voc / "voc_lt_train.txt").write_text(line)
    assert named in refused(VOCLT(root=str(voc), image_size=16))


def test_a_class_that_no_training_image_has_is_refused_and_one_of_no_test_image_is_told(
    voc: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (voc / "VOCdevkit" / "VOC2007" / "ImageSets" / "Main" / "test.txt").write_text("000001\n000002\n")
    VOCLT(root=str(voc), image_size=16).open(CPU)
    assert "no test image has class" in caplog.text and "leaves it out" in caplog.text
    (voc / "img_id.txt").write_text("2008_000000\n2008_000001\n")
    assert "has no training image" in refused(VOCLT(root=str(voc), image_size=16))


@pytest.mark.parametrize(
    "given, named",
    [
        ({"profile": "step"}, "dataset.profile=as_is"),
        ({"validation_per_class": 1}, "dataset.validation=0.1"),
        ({"stretch": True, "resize": 32}, "dataset.resize=null"),
    ],
)
def test_choices_of_one_label_per_image_are_refused(given: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        ImageTable("x", image_size=16, task="multi_label", **given)


@pytest.mark.parametrize("name, images, without", [("voc_lt", (1142, 4952), (0, 0)), ("coco_lt", (1909, 5000), (0, 48))])
def test_the_released_lists_have_the_published_counts(
    shared_lists: Path, name: Name, images: tuple[int, int], without: tuple[int, int]
) -> None:
    known = label_sets(name)
    counts = known.counts["train"]
    groups = ((counts >= 100).sum(), ((counts >= 20) & (counts < 100)).sum(), (counts < 20).sum())
    assert groups == {"voc_lt": (6, 6, 8), "coco_lt": (22, 33, 25)}[name]
    for split, number, empty in zip(("train", "test"), images, without, strict=True):
        given, labelled = read_sets(shared_lists / name / f"{name}_{split}.txt", known)
        assert labelled and given.labels.shape == (number, len(known.classes))
        assert int((~given.labels.any(axis=1)).sum()) == empty
        assert "as the published" in compared(given, split, known)
        with pytest.raises(DataError, match=r"list of .*-LT, not the"):
            compared(given, "test" if split == "train" else "train", known)
