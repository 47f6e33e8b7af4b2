"""`ltrun export` on real runs: reloaded in a process without ltrun, refused by name, tested before the file appears."""

import errno
import json
import subprocess
import sys
from importlib import util
from importlib.machinery import ModuleSpec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from ltrun.commands import export
from ltrun.data import DigitsLT
from ltrun.data.decoding import Decoding
from ltrun.engine.export import steps_of
from ltrun.results.record import RunRecord
from tests.support.commands import SHORT, Run, refused
from tests.support.data_fakes import class_folders

PHOTOS = ("dataset=image_folder", "dataset.image_size=16", "epochs=1", "batch_size=8")
READER = """
import json, sys
import numpy as np
images, file = np.load("images.npy"), sys.argv[1]
if file.endswith(".onnx"):
    import onnxruntime
    session = onnxruntime.InferenceSession(file)
    found, facts = session.run(["probabilities"], {"images": images})[0], session.get_modelmeta().custom_metadata_map
else:
    import torch
    extra = {"ltrun.json": ""}
    module = torch.export.load(file, extra_files=extra).module()
    found, facts = module(torch.from_numpy(images))[0].detach().numpy(), json.loads(extra["ltrun.json"])
assert "ltrun" not in sys.modules
np.save("found.npy", found)
json.dump(dict(facts), open("facts.json", "w"))
"""


def softmax(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    powers = np.exp(scores.astype(np.float64) - scores.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def reloaded(file: str, folder: Path) -> tuple[NDArray[np.float32], dict[str, str]]:
    """Returns the probabilities of images.npy, and the metadata, by a process that cannot import ltrun."""
    subprocess.run([sys.executable, "-I", "-c", READER, file], cwd=folder, check=True, capture_output=True, text=True)
    return np.load(folder / "found.npy"), json.loads((folder / "facts.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "files"),
    [
        (("method=erm", "posthoc=[tau_norm,ncm]"), {"tau_norm": "onnx", "ncm": "pt2"}),
        (("method=sade",), {"sade_aggregation": "onnx"}),
    ],
)
def test_an_exported_model_predicts_without_ltrun(
    words: tuple[str, ...], files: dict[str, str], ltrun: Run, tmp_path: Path
) -> None:
    assert ltrun(*words, *SHORT).returncode == 0
    (result,) = tmp_path.rglob("result.json")
    kept, names = np.load(result.with_name("predictions.npz")), RunRecord.load(result).classes["names"]
    images = next(iter(DigitsLT().open(torch.device("cpu")).test.open([torch.arange(500)]))).inputs
    np.save(tmp_path / "images.npy", images.numpy())
    for row, suffix in files.items():
        done = ltrun("export", "outputs", "--to", f"{row}.{suffix}", "--predictor", row, "--licence", "CC-BY-4.0")
        assert done.returncode == 0, done.stderr
        assert "equal to the run's predictions within" in done.stdout and "256 images" in done.stdout
        found, facts = reloaded(f"{row}.{suffix}", tmp_path)
        assert np.abs(found - softmax(kept[f"test_scores_{row}"])).max() < 1e-5
        assert json.loads(facts["class_names"]) == names and facts["licence"] == "CC-BY-4.0" and facts["predictor"] == row
        assert json.loads(facts["size"]) == [8, 8] and json.loads(facts["mean"]) == [0.3053]
        assert set(json.loads(facts["shot_groups"])["of_classes"]) == {"many", "medium", "few"}
        assert json.loads(facts["record"])["dataset"] == "digits_lt"


def test_safetensors_hold_weights_fitted_state_and_metadata(ltrun: Run, tmp_path: Path) -> None:
    from safetensors import safe_open

    assert ltrun("method=erm", *SHORT, "posthoc=ncm").returncode == 0
    done = ltrun("export", "outputs", "--to", "new/model.safetensors", "--predictor", "ncm")
    assert done.returncode == 0, done.stderr
    (model,) = tmp_path.rglob("model.pth")
    trained = torch.load(model, weights_only=True)
    with safe_open(tmp_path / "new" / "model.safetensors", "pt") as file:
        assert all(torch.equal(file.get_tensor(name), tensor) for name, tensor in trained["network"].items())
        assert torch.equal(file.get_tensor("posthoc.means"), trained["posthoc"]["ncm"]["means"])
        assert json.loads(file.metadata()["class_names"])[0] == "zero"


def test_without_its_images_the_self_test_uses_random_ones_and_says_so(ltrun: Run, tmp_path: Path) -> None:
    for split, each in (("train", 8), ("test", 4)):
        class_folders(tmp_path / "photos" / split, {"ant": each, "bee": each}, size=40, seed=each)
    assert ltrun("method=erm", *PHOTOS, f"dataset.root={tmp_path / 'photos'}").returncode == 0
    done = ltrun("export", "outputs", "--to", "model.safetensors")
    assert done.returncode == 0 and "the run's predictions" in done.stdout and "8 images" in done.stdout, done.stderr
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        steps = json.loads(file.metadata()["view"])["steps"]
    assert steps[0] == "turn it as its EXIF orientation says"
    assert steps[-1] == "cut out the centre square and scale it to 16 x 16, bicubic with antialiasing"
    (tmp_path / "photos").rename(tmp_path / "moved")
    done = ltrun("export", "outputs", "--to", "model.safetensors")
    assert done.returncode == 0 and "the network in ltrun" in done.stdout and "random images" in done.stderr
    done = ltrun("export", "outputs", "--to", "model.safetensors", "--root", "moved")
    assert done.returncode == 0 and "the run's predictions" in done.stdout, done.stderr


def test_what_cannot_be_exported_is_refused_and_nothing_is_written(
    ltrun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ltrun("method=erm", *SHORT).returncode == 0
    assert "ends in .onnx, .pt2, .safetensors" in refused(ltrun("export", "outputs", "--to", "model.pkl"))
    assert "--root gone: this is not a folder" in refused(ltrun("export", "outputs", "--to", "model.pt2", "--root", "gone"))
    with monkeypatch.context() as changed:
        changed.setattr(export, "CLOSE", 1e-12)
        assert "nothing is written" in refused(ltrun("export", "outputs", "--to", "model.pt2"))
    find = util.find_spec

    def without(name: str) -> ModuleSpec | None:
        return None if name == "onnxruntime" else find(name)

    with monkeypatch.context() as changed:
        changed.setattr("ltrun.engine.export.find_spec", without)
        assert "needs onnxruntime: pip install 'ltrun[export]'" in refused(ltrun("export", "outputs", "--to", "model.onnx"))
    with monkeypatch.context() as changed:
        changed.setattr("ltrun.engine.export.import_module", broken)
        assert "needs onnx, which cannot be imported (no libc)" in refused(ltrun("export", "outputs", "--to", "model.onnx"))
    with monkeypatch.context() as changed:
        changed.setattr(Path, "write_bytes", full)
        said = refused(ltrun("export", "outputs", "--to", "model.pt2"))
        assert "model.pt2 could not be written because the disk or the quota is full" in said
    monkeypatch.setattr("ltrun.posthoc.tau_norm.TauNorm.forward", lambda self, outputs: branching(outputs.need("features")))
    assert ltrun("method=tau_norm", *SHORT, "seed=1").returncode == 0
    said = refused(ltrun("export", "outputs/digits_lt/tau_norm", "--to", "model.pt2"))
    assert "row 'tau_norm' cannot be exported, because ltrun.posthoc.TauNorm is no pure function" in said
    assert not list(tmp_path.glob("*model*"))


def branching(features: torch.Tensor) -> torch.Tensor:
    """Scores whose graph depends on a value."""
    return features[:, :10] if features.sum() > 1e9 else features[:, 10:20]


def full(path: Path, content: bytes) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def broken(name: str) -> None:
    raise ImportError("no libc")


@pytest.mark.parametrize(
    ("how", "channels", "last"),
    [
        (Decoding(224, resize=256, upright=False), 3, "scale the shorter side to 256 pixels, bilinear with antialiasing, and "),
        (Decoding(32, crop=False), 3, "use images of 32 x 32 alone"),
        (Decoding(8), 1, "convert it to grey, ITU-R 601-2 luma"),
    ],
)
def test_the_steps_from_a_file_to_an_input_are_told(how: Decoding, channels: int, last: str) -> None:
    found = steps_of(how, channels)
    assert found[-1].startswith(last)
    assert any("EXIF" in step for step in found) is how.upright
