"""Images with missed or false labels: their selection, order and probabilities, and their rendering."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from ltrun.report.render.gallery import gallery
from ltrun.report.render.wrong import as_json, comma_separated, terminal
from ltrun.report.wrong import Mistakes, mistakes_of
from ltrun.results.find import run_at
from tests.support.predicted import save_run

NAMES = ["ant", "bee", "<b>cat"]
LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 1], [0, 0, 0]], dtype=bool)
P = np.array([[0.9, 0.2, 0.1], [0.3, 0.6, 0.8], [0.1, 0.2, 0.3], [0.1, 0.05, 0.55], [0.6, 0.9, 0.1]])
SCORES = np.log(P / (1 - P)).astype(np.float32)  # images 1, 3 and 4 are wrong
FILES = [f"{row}.jpg" for row in range(5)]


def mistakes(outputs: Path, label: str | None = None, predictor: str | None = None) -> Mistakes:
    own = {"posthoc": {"predictors": {"own": {"_target_": "mine.Part"}}}}
    scores = {"plain": SCORES, "own": SCORES}
    file, record = run_at(save_run(outputs, LABELS, scores, [120, 40, 5], names=NAMES, files=FILES, config=own))
    return mistakes_of(record, file.parent, predictor, label)


def test_the_most_confident_mistake_comes_first(tmp_path: Path) -> None:
    found = mistakes(tmp_path).found
    assert [image.name for image in found] == ["3.jpg", "4.jpg", "1.jpg"]
    assert [image.kind for image in found] == [("missed", "bee"), ("false", "bee"), ("false", "<b>cat")]
    assert np.allclose([image.probability for image in found], [0.95, 0.9, 0.8], atol=1e-6)
    assert found[0].told == ("missed: bee 5.0%", "labels: bee, <b>cat")
    assert found[1].told == ("false: bee 90.0%, ant 60.0%", "labels: none")
    assert found[2].told == ("false: <b>cat 80.0%", "missed: ant 30.0%", "labels: ant, bee")
    assert mistakes(tmp_path).summary == "3 of 5 test images are wrong (60.0%): 2 miss a label, 2 have a false one"


def test_the_mistakes_of_one_class_can_be_asked_for(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "ant")
    assert [image.told[0] for image in found.found] == ["missed: ant 30.0%", "false: ant 60.0%"]
    assert [sorted(image.labels) for image in found.found] == [["ant", "bee"], []]
    assert found.summary == (
        "2 of 3 test images with class ant, or predicted so, are wrong (66.7%): 1 miss a label, 1 have a false one"
    )


def test_notes_say_what_probabilities_are(tmp_path: Path) -> None:
    assert mistakes(tmp_path).notes == (
        "Probabilities are the sigmoid of the scores",
        "A class is predicted where its probability is above one half",
    )
    assert "the sigmoid of the scores of mine.Part" in mistakes(tmp_path, predictor="own").notes[0]


def test_csv_and_json_hold_the_same(tmp_path: Path) -> None:
    found = mistakes(tmp_path)
    rows = list(csv.DictReader(io.StringIO(comma_separated(found, None))))
    images = json.loads(as_json(found, None))["images"]
    assert list(rows[0]) == [
        "row", "image", "labels", "missed", "missed_probabilities", "false", "false_probabilities", "confidence",
    ]  # fmt: skip
    assert rows[2]["labels"] == "ant;bee" and images[2]["labels"] == ["ant", "bee"]
    assert rows[1]["false"] == "bee;ant" and rows[1]["false_probabilities"] == "0.9;0.6" and rows[1]["missed"] == ""
    assert [each["class"] for each in images[1]["false"]] == ["bee", "ant"] and images[1]["missed"] == []
    assert [float(row["confidence"]) for row in rows] == [image["confidence"] for image in images]
    assert len(comma_separated(found, 1).splitlines()) == 2


def test_the_table_and_the_page_show_labels_and_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = mistakes(tmp_path)
    terminal(found, 2)
    out = capsys.readouterr().out
    assert "Missed" in out and "bee 90.0%, ant 60.0%" in out and "1 more are not shown" in out and "<b>cat 80.0%" not in out
    page = gallery(found, None, {})
    assert (
        "false: &lt;b&gt;cat <small>1</small>" in page and "missed: ant 30.0%" in page and "labels: bee, &lt;b&gt;cat" in page
    )
    assert page.count("<li>") == 3 and page.count('<a href="#pair') == 3


def test_without_wrong_images_there_is_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, record = run_at(save_run(tmp_path, LABELS, {"plain": np.where(LABELS, 3, -3).astype(np.float32)}, [9, 9, 9]))
    found = mistakes_of(record, file.parent)
    terminal(found, None)
    assert "0 of 5 test images are wrong (0.0%)" in capsys.readouterr().out
    assert len(comma_separated(found, None).splitlines()) == 1 and "0 of 5" in gallery(found, None, {})
