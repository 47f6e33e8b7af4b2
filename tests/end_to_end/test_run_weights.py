"""`network.weights` of a run of ltrun, as a user names it: by its folder, its address, its model or a checkpoint."""

import shutil
from pathlib import Path

import torch

from ltrun.results.record import RunRecord
from tests.support.commands import Run, refused

SHORT = ("dataset=digits_lt", "epochs=1", "runtime.checkpoint_seconds=0")


def test_a_run_begins_with_the_weights_of_another(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("method=erm", *SHORT).returncode == 0
    (result,) = tmp_path.rglob("result.json")
    folder = result.parent
    address = str(folder.relative_to(tmp_path / "outputs"))
    (checkpoint,) = folder.glob("*.pt")

    done = ltrun("method=balanced_softmax", *SHORT, f"network.weights={address}")
    assert done.returncode == 0, done.stderr
    assert f"network.weights=erm/{folder.parent.name}/seed0" in done.stdout
    for name in (folder, folder / "model.pth"):
        assert "done before" in ltrun("method=balanced_softmax", *SHORT, f"network.weights={name}").stdout
    from_checkpoint = ltrun("method=balanced_softmax", *SHORT, f"network.weights={checkpoint}")
    assert from_checkpoint.returncode == 0 and "done before" not in from_checkpoint.stdout
    records = {r.fingerprint: r for r in map(RunRecord.load, (tmp_path / "outputs").rglob("result.json")) if r.method != "erm"}
    assert len(records) == 2
    one, other = (torch.load(Path(str(r.path)).with_name("model.pth"), weights_only=True)["network"] for r in records.values())
    assert all(torch.equal(value, other[name]) for name, value in one.items()), "model and checkpoint hold the same weights"

    by_address = next(r for r in records.values() if "model.pth" in r.config["network"]["weights"])
    again = ltrun("rerun", str(by_address.path), "outputs=again")
    assert again.returncode == 0 and "all numbers equal" in again.stdout, again.stderr
    ride = ltrun("method=ride", *SHORT, f"network.weights={address}")
    assert ride.returncode == 0 and "width 1 for branches with its pre-trained weights" in ride.stdout + ride.stderr

    said = refused(ltrun("method=erm", *SHORT, "network=resnet32", f"network.weights={address}"))
    assert "network.weights: model.pth is for another network: it lacks layer1.1.conv1.weight" in said
    branches = next(path.parent for path in tmp_path.rglob("result.json") if "/ride/" in str(path))
    assert "holds the branches of an ensemble" in refused(ltrun("method=erm", *SHORT, f"network.weights={branches}"))
    (folder / "model.pth").unlink()
    assert "has no model.pth: train the run" in refused(ltrun("method=erm", *SHORT, f"network.weights={address}"))
    shutil.rmtree(folder)
    folder.mkdir()
    assert "neither is nor holds a finished run" in refused(ltrun("method=erm", *SHORT, f"network.weights={address}"))
