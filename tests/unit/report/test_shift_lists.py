"""`ltrun report --shifts --lists`: SADE's lists found in the predictions of runs by the names of images, and bad lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltrun.commands.report import main
from ltrun.evaluation.shifts import Integers, Shifts, class_sizes
from ltrun.metrics import SETS
from tests.support.predicted import save_run, scores_of

COUNTS = [500, 300, 120, 100, 60, 20, 19, 5]
EACH = 50
LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(8), EACH))
KEYS = [f"ILSVRC2012_val_{row:08d}" for row in range(len(LABELS))]
RATIOS = (50, 25, 10, 5, 2)
Capture = pytest.CaptureFixture[str]


def rows_of(way: str, ratio: int, each: int = EACH, labels: Integers = LABELS) -> Integers:
    """Rows of a list: the last images of each class, which the drawn sets do not take."""
    sizes = class_sizes(np.arange(len(COUNTS)), each, ratio, way == "backward")
    return np.concatenate([np.flatnonzero(labels == c)[::-1][:n] for c, n in enumerate(sizes)])


def write_lists(folder: Path, begin: str = "ImageNet_LT") -> Path:
    folder.mkdir(parents=True)
    for way in ("forward", "backward"):
        for ratio in RATIOS:
            lines = [f"val/n{LABELS[row]:08d}/{KEYS[row]}.JPEG {LABELS[row]}\n" for row in rows_of(way, ratio)]
            (folder / f"{begin}_{way}{ratio}.txt").write_text("".join(lines))
    return folder


def save(outputs: Path, method: str = "sade", dataset: str = "imagenet_lt", **more: Any) -> Path:
    node = {"dataset": {"benchmark": dataset}} if dataset in ("imagenet_lt", "inat18") else {}
    made = {"files": KEYS, "config": node, **more}
    return save_run(outputs, LABELS, {"plain": scores_of(LABELS, 8)}, COUNTS, dataset=dataset, method=method, **made)


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    save(tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    return write_lists(tmp_path / "sade" / "data_txt" / "ImageNet_LT")


def tables(capsys: Capture, *words: object) -> dict[str, Any]:
    assert main([*map(str, words), "--shifts", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return {made["title"]: made for made in json.loads(out)["tables"]}


def test_a_test_set_has_the_images_of_its_list(runs: Path, lists: Path, capsys: Capture) -> None:
    """Whether the folder is the repository, its data_txt, or the data set's own."""
    right = scores_of(LABELS, 8).argmax(1) == LABELS
    expected = [100 * right[rows_of(way, r)].mean() for way, r in (("forward", 50), ("backward", 2), ("backward", 50))]
    drawn = tables(capsys, runs)["imagenet_lt"]
    for folder in (lists, lists.parent, lists.parent.parent):
        made = tables(capsys, runs, "--lists", folder)["imagenet_lt"]
        heads = [column["head"] for column in made["columns"]]
        assert heads == ["F-50", "F-25", "F-10", "F-5", "F-2", "Uni", "B-2", "B-5", "B-10", "B-25", "B-50"]
        found = dict(zip(heads, (cell["values"][0] for cell in made["rows"][0]["cells"]), strict=True))
        assert [found[head] for head in ("F-50", "B-2", "B-50")] == pytest.approx(expected)
        assert found["Uni"] == pytest.approx(100 * right.mean())
        assert "SADE's lists, ImageNet_LT_forward50.txt to ImageNet_LT_backward50.txt" in made["caption"]
    assert "drawn as SADE draws CIFAR's" in drawn["caption"]
    assert drawn["rows"][0]["cells"][0]["values"][0] != pytest.approx(expected[0])  # other images, or the test shows nothing


def test_data_sets_without_lists_keep_the_drawn_test_sets(runs: Path, lists: Path, capsys: Capture) -> None:
    save(runs, dataset="cifar100_lt")
    save(runs, dataset="inat18")
    made = tables(capsys, runs, "--lists", lists)
    used = {title: "SADE's lists" in table["caption"] for title, table in made.items()}
    assert used == {"imagenet_lt": True, "cifar100_lt": False, "inat18": False}
    right, sets = scores_of(LABELS, 8).argmax(1) == LABELS, Shifts(LABELS, np.array(COUNTS))
    assert made["inat18"]["rows"][0]["cells"][0]["values"] == [pytest.approx(100 * right[sets.rows(50)].mean())]


def test_the_page_says_which_images_it_takes(runs: Path, lists: Path, tmp_path: Path, capsys: Capture) -> None:
    words = [str(runs), "--shifts", "--lists", str(lists), "--html", str(tmp_path / "page.html")]
    assert main(words) == 0
    assert "1 runs" in capsys.readouterr().out
    page = (tmp_path / "page.html").read_text()
    assert "SADE's lists, ImageNet_LT_forward50.txt to" in page.replace("\\u0027", "'") and "drawn as SADE" not in page


def refused(capsys: Capture, *words: object) -> str:
    assert main(list(map(str, words))) == 1
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[:-1], "line 128: val/n00000007/ILSVRC2012_val_"),
        (lambda lines: [*lines[:4], lines[4].replace(" 0", " 1"), *lines[5:]], "has label 1 there, and 0 in the test split"),
        (
            lambda lines: [lines[0], "", lines[1].replace("val_0", "val_9"), *lines[2:]],
            "line 3: val/n00000000/ILSVRC2012_val_9",
        ),
        (lambda lines: [*lines, lines[0]], "2 times, in its images 1 and 130"),
        (lambda lines: [*lines[:-1], lines[-1][:20]], "line 129: 'val/n00000007/ILSVRC' does not end in a label"),
        (lambda lines: [], "is empty"),
    ],
    ids=["cut short", "another label", "not a test image", "twice", "cut in a line", "empty"],
)
def test_a_bad_list_is_one_sentence(change: Any, said: str, runs: Path, lists: Path, capsys: Capture) -> None:
    file = lists / "ImageNet_LT_backward25.txt"
    lines = (lists / "ImageNet_LT_forward25.txt").read_text().splitlines()
    assert len(lines) == 129
    file.write_text("".join(f"{line}\n" for line in change(lines)))
    told = refused(capsys, runs, "--shifts", "--lists", lists)
    assert said in told and str(file) in told


def test_what_a_folder_lacks_is_named(runs: Path, lists: Path, tmp_path: Path, capsys: Capture) -> None:
    assert "there is no such folder" in refused(capsys, runs, "--shifts", "--lists", tmp_path / "none")
    assert "--lists names SADE's test sets" in refused(capsys, runs, "--lists", lists)
    told = refused(capsys, runs, "--shifts", "--lists", tmp_path)
    assert "has no lists of imagenet_lt: looked for ImageNet_LT_forward50.txt" in told
    (lists / "ImageNet_LT_backward10.txt").unlink()
    told = refused(capsys, runs, "--shifts", "--lists", lists)
    assert "lacks ImageNet_LT_backward10.txt, and has 9 of the 10 lists of imagenet_lt" in told
    save(tmp_path / "others", dataset="cifar100_lt")
    told = refused(capsys, tmp_path / "others", "--shifts", "--lists", lists)
    assert "SADE has lists of imagenet_lt, places_lt, inat18, and the runs are of cifar100_lt" in told


def test_a_run_whose_images_have_no_names_has_no_such_test_sets(
    runs: Path, lists: Path, tmp_path: Path, capsys: Capture
) -> None:
    save(runs, "erm", files=None)
    assert main([str(runs), "--shifts", "--lists", str(lists), "--csv"]) == 0
    out, err = capsys.readouterr()
    assert "the predictions keep no names of test images" in err and "The run has no shifts" in err and "SADE" in out
    save(tmp_path / "alone", "erm", files=None)
    assert "keep no names" in refused(capsys, tmp_path / "alone", "--shifts", "--lists", lists)


def test_every_ratio_of_a_list_is_a_declared_metric() -> None:
    from ltrun.report.shift_lists import LISTS

    known = {metric.name for metric in SETS["shifts"][1]}
    assert all({f"forward_{r}", f"backward_{r}"} <= known for _, ratios in LISTS.values() for r in ratios)
