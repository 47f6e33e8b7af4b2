"""Lists of images on the command line: a training from a tar equals one from files, and bad lists are one sentence."""

import json
from pathlib import Path

import numpy as np
import pytest

from ltrun.evaluation.shifts import class_sizes
from ltrun.results.address import RESULT
from tests.support.commands import Run, refused
from tests.support.listed_images import content_of, lines, publish, write, write_tar
from tests.support.official_trees import as_listed, places

SMALL = ("dataset=lists", "dataset.image_size=16", "dataset.resize=null", "network=resnet8", "batch_size=8", "epochs=2")
TRAIN = {f"train/{name}/{k}.jpg": label for label, name in enumerate(("ant", "bee", "cat")) for k in range(12 - 4 * label)}
TEST = {f"test/{name}/{k}.jpg": label for label, name in enumerate(("ant", "bee", "cat")) for k in range(3)}


@pytest.mark.slow
def test_a_training_from_a_tar_equals_one_from_files(ltrun: Run, tmp_path: Path) -> None:
    """Two worker processes cut the photographs at random, and read one archive at once."""
    write(tmp_path / "files", [*TRAIN, *TEST], str)
    write_tar(tmp_path / "tar" / "photos.tar", {path: content_of(path) for path in (*TRAIN, *TEST)})
    runs = []
    for root in ("files", "tar"):
        for split, labelled in (("train", TRAIN), ("test", TEST)):
            (tmp_path / root / f"{split}.txt").write_text(lines(labelled))
        where = (f"dataset.root={tmp_path / root}", "dataset.workers=2", f"outputs={root}", "runtime.device=cpu")
        done = ltrun(*SMALL, *where, "evaluation.every=1")
        assert done.returncode == 0, done.stderr
        (path,) = Path(root).rglob(RESULT)
        runs.append(path.parent)
    found = [json.loads((run / RESULT).read_text()) for run in runs]
    assert found[0]["data"]["digest"] == found[1]["data"]["digest"]
    scores = [np.load(run / "predictions.npz") for run in runs]
    assert scores[0].files and all(np.array_equal(scores[0][name], scores[1][name]) for name in scores[0].files)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("train/airfield/00000001.jpg 0\n", "is a list of Places-LT, not of ImageNet-LT"),
        ("train/n01440764/n01440764_1.JPEG 1000\n", "has label 1,000, but ImageNet-LT has 1,000 classes, 0 to 999"),
        ("train/n01440764/n01440764_1.JPEG 0\n", "1 images, but ImageNet-LT has 115,846: class 'n01440764' has 1 here"),
        ("train/n01440764/n01440764_1.JPEG\n", "does not end in a label"),
    ],
)
def test_a_bad_list_is_one_sentence(ltrun: Run, tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "ImageNet_LT_train.txt").write_text(content)
    (tmp_path / "ImageNet_LT_test.txt").write_text("val/n01440764/ILSVRC2012_val_00000001.JPEG 0\n")
    assert said in refused(ltrun("data", "dataset=imagenet_lt", f"dataset.root={tmp_path}"))


def test_a_root_that_is_a_file_or_lacks_the_lists_is_one_sentence(ltrun: Run, tmp_path: Path) -> None:
    assert "the training list of ImageNet-LT is missing" in refused(
        ltrun("data", "dataset=imagenet_lt", f"dataset.root={tmp_path}")
    )
    (tmp_path / "images.tar").write_bytes(b"")
    assert "images.tar is a file: give the folder that holds the images as dataset.root=FOLDER" in refused(
        ltrun("data", "dataset=inat18", f"dataset.root={tmp_path / 'images.tar'}")
    )


def test_a_trained_run_is_tested_on_the_lists_of_sade(ltrun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SADE's lists of Places-LT have other folders than the list of test images."""
    some = places()
    publish(monkeypatch, some.name, some.benchmark)
    *train, test = some.lists
    as_listed(some.save(tmp_path / "data"), some.pool(*train), some.pool(test))
    small = (*SMALL[1:-1], "epochs=1", "dataset.workers=1", "runtime.device=cpu")
    done = ltrun("dataset=places_lt", *small, "dataset.root=data", LTRUN_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    (tmp_path / "sade").mkdir()
    for way in ("forward", "backward"):
        for ratio in (50, 25, 10, 5, 2):
            sizes = class_sizes(np.arange(3), 2, ratio, way == "backward")
            paths = [[path for path, label in some.lists[test].items() if label == c][:n] for c, n in enumerate(sizes)]
            named = {f"val_256/{path.rpartition('/')[2]}": c for c, some_paths in enumerate(paths) for path in some_paths}
            (tmp_path / "sade" / f"Places_LT_{way}{ratio}.txt").write_text(lines(named))
    shown = ltrun("report", "--shifts", "--lists", "sade", "--json")
    (made,) = json.loads(shown.stdout)["tables"]
    assert shown.returncode == 0 and "SADE's lists, Places_LT_forward50.txt to" in made["caption"]
    assert [cell["n"] for cell in made["rows"][0]["cells"]] == [1] * 11
    (tmp_path / "sade" / "Places_LT_forward2.txt").unlink()
    assert "lacks Places_LT_forward2.txt" in refused(ltrun("report", "--shifts", "--lists", "sade"))
