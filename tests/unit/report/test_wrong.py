"""Wrong images: their selection, order and probability, and their rendering."""

import csv
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest

from ltrun.errors import ConfigError
from ltrun.report.render.gallery import LISTED, gallery
from ltrun.report.render.wrong import as_json, comma_separated, terminal
from ltrun.report.wrong import Mistakes, Wrong, by_pair, mistakes_of
from ltrun.results.find import run_at
from tests.support.narrow import of_type
from tests.support.predicted import save_run

NAMES = ["ant", "bee", "<b>cat"]
LABELS = np.array([0, 0, 1, 1, 2, 2])
P = [[0.9, 0.05, 0.05], [0.3, 0.6, 0.1], [0.8, 0.1, 0.1], [0.2, 0.5, 0.3], [0.2, 0.7, 0.1], [0.35, 0.25, 0.4]]
SCORES = np.log(np.array(P, dtype=np.float32)) + 3  # images 1, 2 and 4 are wrong
FILES = ["test/ant/0.png", "test/ant/1.png", "test/bee/0.png", "test/bee/1.png", "test/<b>cat/0.png", "test/<b>cat/1.png"]


def mistakes(
    outputs: Path, label: str | None = None, predictor: str | None = None, files: list[str] | None = FILES
) -> Mistakes:
    posthoc = {"posthoc": {"predictors": {"ncm": {"_target_": "ltrun.posthoc.NCM"}, "own": {"_target_": "mine.Part"}}}}
    scores = {"plain": SCORES, "ncm": SCORES[:, ::-1].copy(), "own": SCORES}
    folder = save_run(outputs, LABELS, scores, [120, 40, 5], names=NAMES, files=files, config=posthoc)
    file, record = run_at(folder)
    return mistakes_of(record, file.parent, predictor, label)


def test_the_most_confident_comes_first(tmp_path: Path) -> None:
    found = [of_type(Wrong, wrong) for wrong in mistakes(tmp_path).found]
    assert [(w.image, w.label, w.predicted) for w in found] == [
        ("test/bee/0.png", "bee", "ant"),
        ("test/<b>cat/0.png", "<b>cat", "bee"),
        ("test/ant/1.png", "ant", "bee"),
    ]
    assert np.allclose([w.probability for w in found], [0.8, 0.7, 0.6], atol=1e-6)
    assert np.allclose([w.of_label for w in found], [0.1, 0.1, 0.3], atol=1e-6)
    assert mistakes(tmp_path).summary == "3 of 6 test images are wrong (50.0%)"


def test_the_images_of_one_class_can_be_asked_for(tmp_path: Path) -> None:
    found = mistakes(tmp_path, "bee")
    assert [w.row for w in found.found] == [2]
    assert found.summary == "1 of 2 test images of class bee are wrong (50.0%)"
    with pytest.raises(ConfigError, match="no class 'bea'; did you mean 'bee'"):
        mistakes(tmp_path, "bea")


def test_a_note_says_which_scores_are_not_logits(tmp_path: Path) -> None:
    assert mistakes(tmp_path).notes == ("Probabilities are the softmax of the scores",)
    assert "not of logits" in mistakes(tmp_path, predictor="ncm").notes[0]
    assert "the scores of mine.Part" in mistakes(tmp_path, predictor="own").notes[0]


def test_a_run_without_names_counts_rows_and_says_so(tmp_path: Path) -> None:
    found = mistakes(tmp_path, files=None)
    assert [w.name for w in found.found] == ["row 2", "row 4", "row 1"]
    assert "kept no names of files" in found.notes[1]


def test_csv_and_json_hold_the_same(tmp_path: Path) -> None:
    found = mistakes(tmp_path)
    rows = list(csv.DictReader(io.StringIO(comma_separated(found, None))))
    content = json.loads(as_json(found, None))
    assert [row["image"] for row in rows] == [image["image"] for image in content["images"]] == [w.image for w in found.found]
    assert [float(row["probability"]) for row in rows] == [w.probability for w in found.found]
    assert (content["wrong"], content["test_images"], content["predictor"]) == (3, 6, "plain")
    assert len(comma_separated(found, 1).splitlines()) == 2
    assert len(json.loads(as_json(found, 2))["images"]) == 2


def test_the_table_says_how_many_it_leaves_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    terminal(mistakes(tmp_path), 1)
    out = capsys.readouterr().out
    assert "80.0%" in out and "70.0%" not in out
    assert "2 more are not shown" in out


def test_without_wrong_images_there_is_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = np.eye(3, dtype=np.float32)[LABELS]
    file, record = run_at(save_run(tmp_path, LABELS, {"plain": scores}, [120, 40, 5]))
    found = mistakes_of(record, file.parent)
    terminal(found, 20)
    assert "0 of 6 test images are wrong (0.0%)" in capsys.readouterr().out
    assert "Predicted" not in capsys.readouterr().out
    assert "0 of 6" in gallery(found, 20, {})


def test_control_characters_of_foreign_names_reach_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    terminal(mistakes(tmp_path, files=[f"\x1b[31m{name}\n" for name in FILES]), None)
    out = capsys.readouterr().out
    assert "\x1b" not in out and "?[31mtest/bee/0.png" in out


def test_pairs_are_ordered_by_their_images() -> None:
    each = [Wrong(0, None, "a", "b", 0.9, 0), Wrong(1, None, "a", "c", 0.8, 0), Wrong(2, None, "a", "c", 0.7, 0)]
    assert [(pair, [w.row for w in images]) for pair, images in by_pair(tuple(each)).items()] == [
        (("a", "c"), [1, 2]),
        (("a", "b"), [0]),
    ]


def test_the_page_fetches_nothing_and_escapes_every_name(tmp_path: Path) -> None:
    from ltrun.data.thumbnails import Thumbnail

    pictures = {2: Thumbnail("data:image/png;base64,AAAA"), 4: Thumbnail("data:image/jpeg;base64,BB", "changed since the run")}
    page = gallery(mistakes(tmp_path), None, pictures, ["further <i>line"])
    assert "<b>cat" not in page and "&lt;b&gt;cat → bee" in page and "further &lt;i&gt;line" in page
    assert page.index("data:image/png") < page.index("data:image/jpeg")
    assert page.count("<li>") == 3 and "no picture" in page and "changed since the run" in page
    assert not re.search(r'(src|href)="(?!data:|#)|@import|url\(|<script', page)
    assert "This page shows the 1 most confident" in gallery(mistakes(tmp_path), 1, pictures)


def test_a_page_of_many_classes_has_few_sections_and_counts_the_pairs_of_all_wrong_images(tmp_path: Path) -> None:
    labels = np.repeat(np.arange(300), 2)
    scores = np.zeros((600, 300), dtype=np.float32)
    scores[np.arange(600), (labels + 1) % 300] = 9 - np.arange(600) / 100  # each class is taken for the next one, twice
    file, record = run_at(save_run(tmp_path, labels, {"plain": scores}, [30] * 300))
    page = gallery(mistakes_of(record, file.parent), 201, {})
    assert page.count("<section") == LISTED + 1 and page.count("<li>") == 201
    assert page.count('<a href="#pair') == LISTED and "and 240 more pairs" in page
    assert f"Other pairs <small>{201 - 2 * LISTED}</small>" in page


def test_a_file_name_that_is_not_utf_8_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file name may hold bytes that are not UTF-8; Python reads them as surrogates, which cannot be printed."""
    found = mistakes(tmp_path, files=[name.replace("bee/0", "bee/\udcff0") for name in FILES])
    assert found.found[0].image == "test/bee/\udcff0.png"
    terminal(found, None)
    assert "test/bee/?0.png" in capsys.readouterr().out
    assert "test/bee/?0.png" in comma_separated(found, None)
    assert b"test/bee/?0.png" in gallery(found, None, {}).encode()
    assert json.loads(as_json(found, None))["images"][0]["image"] == "test/bee/\udcff0.png"


def test_no_name_is_a_formula_of_a_spreadsheet(tmp_path: Path) -> None:
    found = mistakes(tmp_path, files=[f"=HYPERLINK({name})" for name in FILES])
    assert "'=HYPERLINK(test/bee/0.png)" in comma_separated(found, None)
