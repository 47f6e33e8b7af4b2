"""`ltrun evaluate --open` on real runs: what is stored, skipped and replaced, and what is refused by name."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from ltrun.results.open_images import OpenImages
from ltrun.results.record import RunRecord
from tests.support.commands import Run, refused

WORDS = ("dataset=digits_lt", "epochs=2")


def drawings(folder: Path, images: int, seed: int = 0) -> Path:
    """Writes lines and circles of 8 x 8 pixels, which are no digits."""
    folder.mkdir(exist_ok=True)
    drawn = np.random.default_rng(seed)
    for row in range(images):
        image = Image.new("L", (8, 8))
        box = sorted(drawn.integers(0, 8, 2).tolist())
        (ImageDraw.Draw(image).line if row % 2 else ImageDraw.Draw(image).ellipse)([box[0], 0, box[1], 7], fill=255)
        image.save(folder / f"{row:03}.png")
    return folder


def stored(result: Path) -> OpenImages:
    return OpenImages.load(result.parent, RunRecord.load(result))


@pytest.fixture
def runs(ltrun: Run, tmp_path: Path) -> list[Path]:
    """Results of an erm with a post-hoc row, and of an ensemble."""
    drawings(tmp_path / "drawings", 40)
    assert ltrun("method=erm", "posthoc=ncm", *WORDS).returncode == 0
    assert ltrun("method=ride", *WORDS).returncode == 0
    return sorted(tmp_path.rglob("result.json"))


def test_every_row_says_what_predict_says_and_a_report_reads_it(runs: list[Path], ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("evaluate", "--open", "drawings")
    assert done.returncode == 0, done.stderr
    assert "Open F" in done.stdout and "Open images, of classes without training images: 40." in done.stdout
    assert done.stderr.count("40 open images predicted by") == 2
    erm, ride = runs
    assert set(stored(erm).rows) == {"plain", "ncm"} and set(stored(ride).rows) == {"plain"}  # no single expert
    for result in runs:
        names = RunRecord.load(result).classes["names"]
        for predictor, row in stored(result).rows.items():
            said = ltrun("predict", str(result), "drawings", "--predictor", predictor, "--csv", "-", "--top", "1").stdout
            lines = [line.split(",") for line in said.splitlines()[1:]]
            assert [names[c] for c in row.classes] == [line[1] for line in lines]
            assert row.confidences == pytest.approx([float(line[2]) for line in lines], abs=1e-6)
    report = ltrun("report", "--metric", "open_auroc", "--csv")
    assert report.returncode == 0 and report.stdout.count("\n") >= 4, report.stderr


def test_the_same_images_are_predicted_once_and_others_replace_them(runs: list[Path], ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("evaluate", str(runs[0].parent), "--open", "drawings").returncode == 0
    first = (runs[0].parent / "open.npz").stat().st_mtime_ns
    shutil.copytree(tmp_path / "drawings", tmp_path / "elsewhere")
    (tmp_path / "list.txt").write_text("".join(f"elsewhere/{row:03}.png -1\n" for row in range(39, -1, -1)))
    done = ltrun("evaluate", "outputs", "--open", "list.txt")
    assert done.returncode == 0 and "has these 40 open images already" in done.stderr
    assert done.stderr.count("predicted by") == 1 and (runs[0].parent / "open.npz").stat().st_mtime_ns == first
    drawings(tmp_path / "elsewhere", 30, seed=1)
    done = ltrun("evaluate", "outputs", "--open", "elsewhere", "elsewhere")  # images named twice count once
    assert done.returncode == 0 and done.stderr.count("40 open images predicted by") == 2
    assert ltrun("method=ride", *WORDS, "force=true").returncode == 0
    report = ltrun("report", "--metric", "open_f")
    assert "open.npz is of another training than the result beside it" in report.stderr
    done = ltrun("evaluate", "outputs", "--open", "elsewhere")
    assert done.stderr.count("predicted by") == 1 and done.stderr.count("already") == 1


def test_unreadable_images_are_named_and_left_out(runs: list[Path], ltrun: Run, tmp_path: Path) -> None:
    (tmp_path / "drawings" / "007.png").write_text("no image")
    for _ in range(2):  # the second command names them again
        done = ltrun("evaluate", str(runs[0]), "--open", "drawings", "gone.png")
        said = refused(done)
        assert said == "ltrun: 2 of 41 images could not be read; the runs are evaluated on the others"
        assert "007.png" in done.stderr and "gone.png cannot be read" in done.stderr and "Open F" in done.stdout
    done = ltrun("evaluate", "outputs", "--open", "drawings", "gone.png")
    assert done.returncode == 1 and done.stderr.count("gone.png") == 1, "once for all runs"
    assert [(stored(run).images, stored(run).left_out) for run in runs] == [(39, 2)] * len(runs)
    assert (stored(runs[0]).images, stored(runs[0]).left_out) == (39, 2)
    before = (runs[0].parent / "open.npz").read_bytes()
    assert "none of the 1 images can be read" in refused(ltrun("evaluate", str(runs[0]), "--open", "gone.png"))
    assert (runs[0].parent / "open.npz").read_bytes() == before


def test_runs_that_cannot_predict_images_are_named_and_stop_no_other(runs: list[Path], ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("method=erm", "dataset=digits_multi_lt", "epochs=1").returncode == 0
    (runs[1].parent / "model.pth").unlink()
    done = ltrun("evaluate", "outputs", "--open", "drawings")
    assert done.returncode == 1 and "Traceback" not in done.stderr and "Open F" in done.stdout
    first, second = [line for line in done.stderr.splitlines() if line.startswith("ltrun: ")]
    assert "ride" in first and "without model.pth" in first
    assert "digits_multi_lt" in second and "has several labels per image" in second
    assert stored(runs[0]).images == 40 and not (runs[1].parent / "open.npz").exists()


def test_what_cannot_be_evaluated_is_refused(runs: list[Path], ltrun: Run, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "say what to evaluate the runs on: --open IMAGES" in refused(ltrun("evaluate", "outputs"))
    assert "no finished run under empty" in refused(ltrun("evaluate", "empty", "--open", "drawings"))
    assert "there is no nowhere" in refused(ltrun("evaluate", "nowhere", "--open", "drawings"))
    assert "empty names no image" in refused(ltrun("evaluate", "outputs", "--open", "empty"))
    assert "not a device" in refused(ltrun("evaluate", str(runs[0]), "--open", "drawings", "--device", "cuda:99"))
