"""`ltrun predict` on real runs: digits and photos, every row of a table, unreadable images, bad input."""

import csv
import io
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet

from ltrun.data import DigitsLT
from ltrun.results.address import fingerprint
from ltrun.results.record import RunRecord
from tests.support.commands import SHORT, Run, refused
from tests.support.data_fakes import class_folders

PHOTOS = ("dataset=image_folder", "dataset.image_size=16", "epochs=1", "batch_size=8")
ERM = "posthoc=[tau_norm,logit_adjustment,ncm,label_shift_em]"


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(scores.astype(np.float64) - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def digits(folder: Path) -> None:
    """Writes the test images of digits_lt as grey PNG, named by their rows."""
    folder.mkdir()
    images = DigitsLT().open(torch.device("cpu")).test.open([torch.arange(500)])
    for row, image in enumerate(next(iter(images)).inputs[:, 0].numpy()):
        Image.fromarray(image).save(folder / f"{row:04}.png")


def probabilities(found: str, names: list[str]) -> NDArray[np.float64]:
    """Returns (N, C) of a JSON output with all classes."""
    rows = [{each["class"]: each["probability"] for each in row["predictions"]} for row in json.loads(found)]
    return np.array([[row[name] for name in names] for row in rows])


@pytest.mark.parametrize("words", [("method=erm", ERM), ("method=crt",), ("method=ride",), ("method=sade",)], ids=" ".join)
def test_every_row_predicts_what_it_predicted_for_the_test_images(words: tuple[str, ...], ltrun: Run, tmp_path: Path) -> None:
    assert ltrun(*words, *SHORT).returncode == 0
    (result,) = tmp_path.rglob("result.json")
    record, kept = RunRecord.load(result), np.load(result.with_name("predictions.npz"))
    digits(tmp_path / "digits")
    for predictor in record.without_experts().predictors:
        done = ltrun("predict", "outputs", "digits", "--predictor", predictor, "--top", "10", "--json", "-")
        assert done.returncode == 0, done.stderr
        assert ("test images of its run" in done.stderr) == ("test_inputs" in record.predictors[predictor]["sees"])
        found = probabilities(done.stdout, record.classes["names"])
        assert np.abs(found - softmax(kept[f"test_scores_{predictor}"])).max() < 1e-6


def test_one_expert_of_an_ensemble_is_refused(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("method=ride", *SHORT).returncode == 0
    digits(tmp_path / "digits")
    said = refused(ltrun("predict", "outputs", "digits", "--predictor", "expert 1"))
    assert "'expert 1' is a part of the ensemble, which predicts as a whole; name one of plain" in said


def test_a_run_of_an_earlier_version_predicts_what_needs_no_fitted_state(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("method=erm", *SHORT, ERM).returncode == 0
    digits(tmp_path / "digits")
    before = ltrun("predict", "outputs", "digits", "--json", "-").stdout
    (model,) = tmp_path.rglob("model.pth")
    assert ltrun("predict", "outputs", "digits", "--predictor", "ncm").returncode == 0
    model.unlink()
    said = refused(ltrun("predict", "outputs", "digits"))
    assert "size of its images is not known" in said and "force=true" in said
    assert before


def test_a_run_recorded_before_augmentations_named_their_table_predicts_and_teaches(ltrun: Run, tmp_path: Path) -> None:
    """Its fingerprint is that of the configuration without the table, as the earlier version wrote it."""
    words = ("method=erm", "augmentation=autoaugment", *SHORT[:1], "epochs=1")
    assert ltrun(*words, "outputs=o").returncode == 0
    (file,) = tmp_path.rglob("result.json")
    content, model = json.loads(file.read_text()), torch.load(file.with_name("model.pth"), weights_only=True)
    del content["config"]["augmentation"]["augments"]["autoaugment"]["table"]
    mark = content["fingerprint"] = model["fingerprint"] = fingerprint(content["config"])
    file.write_text(json.dumps(content))
    torch.save(model, file.with_name("model.pth"))
    assert RunRecord.load(file).fingerprint == mark
    digits(tmp_path / "images")
    done = ltrun("predict", str(file.parent), "images")
    assert done.returncode == 0, done.stderr
    taught = ltrun("method=dive", *SHORT[:1], "epochs=1", f"transfer.teachers.teacher.run={file.parent}", "outputs=s")
    assert taught.returncode == 0, taught.stderr
    assert "autoaugment.table" in refused(ltrun("rerun", str(file), "outputs=again"))


def test_photos_are_predicted_as_the_run_predicted_them(ltrun: Run, tmp_path: Path) -> None:
    for split, each in (("train", 12), ("test", 5)):
        class_folders(tmp_path / "photos" / split, {"ant": each, "bee": each, "=cmd": each}, size=40, seed=each)
    assert ltrun("method=erm", *PHOTOS, f"dataset.root={tmp_path / 'photos'}", "posthoc=ncm").returncode == 0
    (result,) = tmp_path.rglob("result.json")
    kept, names = np.load(result.with_name("predictions.npz")), RunRecord.load(result).classes["names"]
    files = [str(tmp_path / "photos" / name) for name in kept["test_files"]]
    (tmp_path / "list.txt").write_text("\n".join(files))
    shutil.rmtree(tmp_path / "photos" / "train")  # a model needs no training images
    for predictor in ("plain", "ncm"):
        words = ("predict", str(result), "list.txt", "--predictor", predictor, "--top", "9")
        assert ltrun(*words, "--json", "all.json").returncode == 0
        text = (tmp_path / "all.json").read_text()
        assert [row["image"] for row in json.loads(text)] == files
        assert np.abs(probabilities(text, names) - softmax(kept[f"test_scores_{predictor}"])).max() < 1e-6
    done = ltrun("predict", str(result), str(tmp_path / "photos"), "--csv", "-", "--top", "1", "--workers", "2")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["image"] for row in rows] == sorted(files)
    assert {row["class"] for row in rows} <= {"ant", "bee", "'=cmd"}
    model = result.with_name("model.pth")
    model.unlink()
    assert "ncm" in refused(ltrun("predict", str(result), "list.txt", "--predictor", "ncm"))
    assert ltrun("predict", str(result), "list.txt", "--predictor", "plain", "--top", "9", "--json", "old.json").returncode == 0
    found = probabilities((tmp_path / "old.json").read_text(), names)
    assert np.abs(found - softmax(kept["test_scores_plain"])).max() < 1e-6


def test_unreadable_images_are_named_and_do_not_stop_the_rest(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("method=erm", *SHORT).returncode == 0
    digits(tmp_path / "digits")
    (tmp_path / "digits" / "0007.png").write_bytes(b"")
    (tmp_path / "digits" / "0008.png").write_text("no image")
    done = ltrun("predict", "outputs", "digits", "gone.png", "--parquet", "out.parquet")
    assert refused(done) == "ltrun: 3 of 501 images could not be read; the others are in out.parquet"
    assert "digits/0007.png is empty (0 bytes)" in done.stderr and "gone.png cannot be read (No such file" in done.stderr
    table = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    assert [n for n, why in enumerate(table["problem"]) if why] == [7, 8, 500]
    assert [n for n, name in enumerate(table["class"]) if name is None] == [7, 8, 500]
    assert list(table)[:4] == ["image", "class", "probability", "class_2"] and table["probability_5"][0] is not None


def test_bad_input_is_refused_before_anything_is_written(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("method=erm", *SHORT).returncode == 0
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine.txt").write_text("gone.png\n")
    assert "names no image" in refused(ltrun("predict", "outputs", "empty"))
    assert "did you mean 'plain'" in refused(ltrun("predict", "outputs", "mine.txt", "--predictor", "plian"))
    assert "name a file that ends in .csv" in refused(ltrun("predict", "outputs", "empty", "--csv", "mine.txt"))
    assert "not text" in refused(ltrun("predict", "outputs", "empty", "--parquet", "-"))
    assert "not a device" in refused(ltrun("predict", "outputs", "mine.txt", "--device", "cuda:99"))
    with pytest.raises(SystemExit, match="2"):
        ltrun("predict", "outputs", "mine.txt", "--workers", "100000")
    (model,) = tmp_path.rglob("model.pth")
    for content in (b"nothing", pickle.dumps({"network": print}, protocol=4)):
        model.write_bytes(content)
        said = refused(ltrun("predict", "outputs", "mine.txt"))
        assert "model.pth is damaged or not a model of ltrun (Weights only load failed): copy it" in said
    assert (tmp_path / "mine.txt").read_text() == "gone.png\n"
