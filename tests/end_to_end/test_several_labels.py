"""Runs with several labels per image, and of videos: predict, errors and export agree with the run's predictions."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pyarrow import parquet
from safetensors import safe_open

from ltrun.data import DigitScenes
from ltrun.metrics import MULTI_LABEL
from ltrun.results.record import RunRecord
from tests.support.commands import Run, refused
from tests.support.videos import make_videos

TINY = ("method=erm", "epochs=1", "runtime.checkpoint_seconds=0", "seed=0")
VIDEOS = (
    "dataset=videolt",
    "dataset.root=videos",
    "dataset.frames=12",
    "network.hidden=8",
    "batch_size=8",
    "optimizer.lr=0.01",
)


def kept(folder: Path) -> tuple[RunRecord, NDArray[np.float64], NDArray[np.bool_], list[str]]:
    """Returns the record, and the probabilities, labels and names of the test images."""
    (result,) = folder.rglob("result.json")
    arrays = np.load(result.with_name("predictions.npz"))
    scores = arrays["test_scores_plain"].astype(np.float64)
    return RunRecord.load(result), 1 / (1 + np.exp(-scores)), arrays["test_labels"].astype(bool), arrays["test_files"].tolist()


def test_a_run_on_images_is_predicted_examined_and_exported(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun(*TINY, "dataset=digits_multi_lt")
    assert done.returncode == 0 and "test mAP " in done.stdout, done.stderr
    record, probabilities, labels, _ = kept(tmp_path)
    assert record.task == MULTI_LABEL and record.training_images == 350

    (tmp_path / "scenes").mkdir()
    scenes = DigitScenes().open(torch.device("cpu")).test.open([torch.arange(len(labels))])
    for row, image in enumerate(next(iter(scenes)).inputs[:, 0].numpy()):
        Image.fromarray(image).save(tmp_path / "scenes" / f"{row:04}.png")
    found = json.loads(ltrun("predict", "outputs", "scenes", "--json", "-", "--top", "3").stdout)
    for image, row in zip(found, probabilities, strict=True):
        likely = sorted(zip(record.classes["names"], row, strict=True), key=lambda each: -each[1])
        above = [each for each in likely if each[1] > 0.5]
        said = image["predictions"] if above else image["likeliest"]
        assert ("likeliest" in image) == (not above) and (above or not image["predictions"])
        assert [each["class"] for each in said] == [name for name, _ in above or likely[:3]]
        assert np.allclose([each["probability"] for each in said], [share for _, share in above or likely[:3]], atol=1e-5)

    wrong = json.loads(ltrun("errors", "outputs", "--json").stdout)
    assert wrong["wrong"] == ((probabilities > 0.5) != labels).any(1).sum()
    page = ltrun("errors", "outputs", "--html", "errors.html", "--top", "2")
    assert page.returncode == 0 and (tmp_path / "errors.html").read_text().count("data:image/png") == 2

    done = ltrun("export", "outputs", "--to", "model.pt2")
    assert "equal to the run's predictions within" in done.stdout and "235 images" in done.stdout, done.stderr
    extra = {"ltrun.json": ""}
    module = torch.export.load(tmp_path / "model.pt2", extra_files=extra).module()
    given = torch.from_numpy(
        np.stack([np.array(Image.open(tmp_path / "scenes" / f"{row:04}.png")) for row in range(5)])[:, None]
    )
    assert np.allclose(module(given)[0].detach().numpy(), probabilities[:5], atol=1e-5)
    facts = json.loads(extra["ltrun.json"])
    assert (facts["task"], facts["decision"][:39]) == (MULTI_LABEL, "each class with a probability above 0.5")
    assert "per_class_recall" not in facts["record"] and '"cf1"' in facts["record"]


def test_a_run_on_videos_is_predicted_from_features_and_exported(ltrun: Run, tmp_path: Path) -> None:
    make_videos(tmp_path / "videos")
    assert ltrun(*TINY, *VIDEOS).returncode == 0
    record, probabilities, _, names = kept(tmp_path)
    tests = [str(Path("videos", name)) for name in names]
    np.save(tmp_path / "wide.npy", np.zeros((3, 17), dtype=np.float32))
    np.save(tmp_path / "endless.npy", np.full((3, 16), np.inf, dtype=np.float16))
    done = ltrun("predict", "outputs", *tests, "wide.npy", "endless.npy", "gone.npy", "--parquet", "out.parquet", "--top", "5")
    assert done.returncode == 1 and "ltrun: 3 of 23 videos could not be read" in done.stderr, done.stderr
    assert "wide.npy holds features of 17 numbers, and the run's have 16" in done.stderr
    assert "endless.npy holds numbers that are not finite" in done.stderr
    table = parquet.read_table(tmp_path / "out.parquet").to_pydict()
    for row, share in enumerate(probabilities):
        said = dict(zip(table["labels"][row], table["probabilities"][row], strict=True))
        assert said.keys() == {name for name, p in zip(record.classes["names"], share, strict=True) if p > 0.5}
        assert said or len(table["likeliest"][row]) == 5
    assert table["labels"][20:] == [None] * 3 and len(table["image"]) == 23
    listed = list(csv.DictReader(io.StringIO(ltrun("predict", "outputs", "videos", "--csv", "-").stdout)))
    assert len(listed) == 54 and listed[0]["image"] == "videos/test_000.npy"
    assert "Without pictures: the data set holds features of videos" in ltrun("errors", "outputs", "--html", "e.html").stderr

    assert "20 videos" in ltrun("export", "outputs", "--to", "model.safetensors").stdout
    with safe_open(tmp_path / "model.safetensors", "np") as file:
        facts = file.metadata()
    assert json.loads(facts["input"]) == {"name": "features", "type": "float32", "shape": ["batch", 12, 16]}
    assert "take 12 rows" in facts["view"] and "mean" not in facts
    assert "names no image" in refused(ltrun("predict", "outputs", "outputs/videolt", "--device", "cpu"))
