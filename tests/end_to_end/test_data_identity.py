"""A run is of the data that it was trained on: names of its test images, refusals of other data, tables that mix none."""

from pathlib import Path

import numpy as np
import pytest

from ltrun.results.address import RESULT
from tests.support.commands import Run
from tests.support.data_fakes import class_folders

PHOTOS = (
    "method=erm", "dataset=image_folder", "dataset.root=photos", "dataset.image_size=8", "network=resnet8", "batch_size=16",
    "epochs=2", "runtime.checkpoint_seconds=0", "runtime.device=cpu",
)  # fmt: skip


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    class_folders(tmp_path / "photos", {"ant": 30, "bee": 12, "cat": 6}, size=12)
    return tmp_path / "photos"


def result_of(outputs: Path) -> Path:
    (path,) = outputs.rglob(RESULT)
    return path.parent


@pytest.mark.parametrize("streamed", ["false", "true"])
def test_predictions_name_their_images(ltrun: Run, photos: Path, tmp_path: Path, streamed: str) -> None:
    done = ltrun(*PHOTOS, f"dataset.streamed={streamed}", "dataset.workers=0")
    assert done.returncode == 0, done.stderr
    with np.load(result_of(tmp_path / "outputs") / "predictions.npz", allow_pickle=False) as saved:
        names, labels, scores = (saved[key] for key in ("test_files", "test_labels", "test_scores_plain"))
    assert len(names) == len(labels) == len(scores) == 6 + 2 + 1
    for name, label in zip(names.tolist(), labels.tolist(), strict=True):
        assert (photos / name).is_file()
        assert Path(name).parent.name == ("ant", "bee", "cat")[label]
