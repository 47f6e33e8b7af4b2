"""`ltrun errors` on real runs: digits, and photos in folders."""

import csv
import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.commands import SHORT, Run, refused

PHOTOS = ("dataset=image_folder", "dataset.image_size=16", "epochs=1", "batch_size=8")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Noise in three class folders, the last with a name that HTML must escape."""
    rng = np.random.default_rng(0)
    for split, counts in {"train": (12, 8, 6), "test": (5, 5, 5)}.items():
        for name, count in zip(("ant", "bee", "Bär & <b>"), counts, strict=True):
            folder = tmp_path / "photos" / split / name
            folder.mkdir(parents=True)
            for k in range(count):
                Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{k:03}.png")
    return tmp_path / "photos"


def rows(ltrun: Run, *words: str) -> list[dict[str, str]]:
    done = ltrun("errors", *words, "--csv")
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO(done.stdout)))


def test_the_listed_digits_match_the_error_of_the_result(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("method=erm", *SHORT, "posthoc=ncm").returncode == 0
    (result,) = tmp_path.rglob("result.json")
    for predictor, found in json.loads(result.read_text())["predictors"].items():
        wrong = rows(ltrun, str(result), "--predictor", predictor)
        assert len(wrong) == round(found["splits"]["test"]["error"] * 500)
        assert all(row["label"] != row["predicted"] for row in wrong)
        sure = [float(row["probability"]) for row in wrong]
        assert sure == sorted(sure, reverse=True)
    shown = ltrun("errors", str(tmp_path / "outputs"), "--top", "3", "--class", "nine")
    assert shown.returncode == 0 and shown.stdout.count("nine") >= 3
    page = tmp_path / "new" / "page.html"
    done = ltrun("errors", str(result.parent), "--html", str(page))
    assert done.returncode == 0, done.stderr
    assert page.read_text().count("data:image/png") == len(rows(ltrun, str(result)))


def test_photos_are_named_by_their_files_and_shown(ltrun: Run, photos: Path, tmp_path: Path) -> None:
    assert ltrun("method=erm", *PHOTOS, f"dataset.root={photos}").returncode == 0
    wrong = rows(ltrun, "outputs")
    assert wrong
    for row in wrong:
        assert (photos / row["image"]).is_file()
        assert Path(row["image"]).parts[1] == row["label"]
    gone, changed = (photos / row["image"] for row in wrong[:2])
    gone.unlink()
    os.utime(changed, (4e9, 4e9))
    page = tmp_path / "page.html"
    assert ltrun("errors", "outputs", "--html", str(page)).returncode == 0
    text = page.read_text()
    assert text.count("data:image/jpeg") == len(wrong) - 1
    assert text.count("is gone") == 1 and text.count("changed since the run") == 1
    assert "Bär & <b>" not in text and ("Bär &amp; &lt;b&gt;" in text) == any("Bär" in str(row) for row in wrong)


def test_moved_photos_are_shown_with_root(ltrun: Run, photos: Path, tmp_path: Path) -> None:
    assert ltrun("method=erm", *PHOTOS, f"dataset.root={photos}").returncode == 0
    shutil.move(photos, tmp_path / "elsewhere")
    page = tmp_path / "page.html"
    done = ltrun("errors", "outputs", "--html", str(page))
    assert done.returncode == 0 and "--root FOLDER" in done.stderr
    assert "Without pictures" in page.read_text() and "data:image" not in page.read_text()
    assert ltrun("errors", "outputs", "--html", str(page), "--root", str(tmp_path / "elsewhere")).returncode == 0
    assert "data:image/jpeg" in page.read_text()


def test_a_run_without_file_names_lists_rows_and_shows_images_of_the_data_set(ltrun: Run, photos: Path, tmp_path: Path) -> None:
    assert ltrun("method=erm", *PHOTOS, f"dataset.root={photos}").returncode == 0
    (file,) = tmp_path.rglob("predictions.npz")
    with np.load(file) as arrays:
        kept = {name: array for name, array in arrays.items() if name != "test_files"}
    np.savez(file, **kept)
    done = ltrun("errors", "outputs")
    assert "row " in done.stdout and "kept no names of files" in done.stdout
    assert ltrun("errors", "outputs", "--html", "page.html").returncode == 0
    assert "data:image/png" in Path("page.html").read_text()
    next((photos / "test" / "ant").iterdir()).unlink()
    assert "another test split" in ltrun("errors", "outputs", "--html", "page.html").stderr


def test_wrong_arguments_of_ltrun_errors_are_refused_in_one_sentence(ltrun: Run, tmp_path: Path) -> None:
    for seed in ("0", "1"):
        assert ltrun("method=erm", *SHORT, "epochs=1", f"seed={seed}").returncode == 0
    assert "several runs" in refused(ltrun("errors", "outputs"))
    assert "there is no nowhere" in refused(ltrun("errors", "nowhere"))
    file = next(tmp_path.rglob("predictions.npz"))
    assert "no predictor 'la'" in refused(ltrun("errors", str(file.parent), "--predictor", "la"))
    assert "could not be written" in refused(ltrun("errors", str(file.parent), "--html", str(file / "page.html")))
    before = file.read_bytes()
    assert "not a page" in refused(ltrun("errors", str(file.parent), "--html", str(file))) and file.read_bytes() == before
    assert "not a page" in refused(ltrun("errors", str(file.parent), "--html", str(tmp_path)))
    file.unlink()
    assert "predictions.npz is missing" in refused(ltrun("errors", str(file.parent)))


@pytest.mark.parametrize("target", ["os.system", "subprocess.Popen", "mypackage.Source"])
def test_a_strangers_record_runs_no_code(ltrun: Run, tmp_path: Path, target: str) -> None:
    assert ltrun("method=erm", *SHORT, "epochs=1").returncode == 0
    (result,) = tmp_path.rglob("result.json")
    content = json.loads(result.read_text())
    marker = tmp_path / "ran"
    content["config"] |= {"plugins": ["os", "subprocess", "mypackage"]}
    content["config"]["dataset"] |= {"_target_": target, "command": f"touch {marker}"}
    result.write_text(json.dumps(content))
    done = ltrun("errors", str(result), "--html", "page.html")
    assert done.returncode == 0 and "is not allowed" in done.stderr
    assert not marker.exists()
