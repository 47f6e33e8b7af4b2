"""`experiment=first_look`: a sweep without -m, a validation split where there is none, and a sentence that chooses."""

import json
from pathlib import Path

import pytest

from ltrun.results.record import RunRecord
from tests.support.commands import Run, refused
from tests.support.data_fakes import class_folders

LOOK = ("experiment=first_look", "epochs=1", "runtime.pack=1")


@pytest.mark.slow
def test_one_command_trains_all_methods_and_ends_in_a_choice(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun(*LOOK, "dataset=digits_lt", "seed=0,1")
    assert done.returncode == 0, done.stderr
    last = done.stdout.strip().splitlines()[-1]
    assert last.startswith("Take ") and "over 2 seeds" in last and "on the validation split" in last
    records = [RunRecord.load(path) for path in tmp_path.rglob("result.json")]
    assert {record.method for record in records} == {"erm", "balanced_softmax", "ldam_drw", "crt", "ride", "cmo"}
    assert len(records) == 12 and all("val" in p["splits"] for record in records for p in record.predictors.values())
    again = ltrun(*LOOK, "dataset=digits_lt", "seed=0,1")
    assert again.stdout.count("done before") == 12 and again.stdout.strip().splitlines()[-1] == last
    erm = next(record for record in records if record.method == "erm")
    assert set(erm.predictors) == {"plain", "logit_adjustment", "tau_norm", "ncm"}
    alone = ltrun(*erm.command, "outputs=elsewhere")  # the command of a job trains this run alone
    assert alone.returncode == 0 and len(list((tmp_path / "elsewhere").rglob("result.json"))) == 1


def test_photos_get_a_validation_split_unless_they_have_one(ltrun: Run, tmp_path: Path) -> None:
    small = (*LOOK, "dataset=image_folder", "dataset.image_size=16", "batch_size=8", "network=resnet8", "seed=0", "method=erm")
    class_folders(tmp_path / "photos", {"ant": 20, "bee": 12, "moth": 6}, size=20)
    done = ltrun(*small, f"dataset.root={tmp_path / 'photos'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().splitlines()[-1].startswith("Take ERM")
    found = [json.loads(path.read_text())["config"] for path in tmp_path.rglob("result.json")]
    assert {config["dataset"]["validation"] for config in found} == {0.2} and {config["seed"] for config in found} == {0}
    for split in ("train", "val", "test"):
        class_folders(tmp_path / "split" / split, {"ant": 6, "bee": 6}, size=20, seed=len(split))
    done = ltrun(*small, f"dataset.root={tmp_path / 'split'}", "outputs=other")
    assert done.returncode == 0 and "Take " in done.stdout, done.stderr
    found = [json.loads(path.read_text())["config"] for path in (tmp_path / "other").rglob("result.json")]
    assert {config["dataset"]["validation"] for config in found} == {0}


def test_a_sweep_that_cannot_be_read_is_refused(ltrun: Run, tmp_path: Path) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    must, deeper = "sweep.commands must be a list of command lines", "one level deeper now: sweep: {commands: [...]}"
    contents = {
        "sweep: method=erm": must,
        "sweep: {commands: method=erm}": must,
        "sweep: {commands: [{method: erm}]}": must,
        "sweep: [method=erm]": deeper,
    }
    for content, wrong in contents.items():
        (tmp_path / "mine" / "experiment" / "own.yaml").write_text(f"# @package _global_\n{content}\n")
        said = refused(ltrun("--config-dir", "mine", "experiment=own", "dataset=digits_lt"))
        assert "experiment=own: " in said and wrong in said
    assert "not a folder" in refused(ltrun(*LOOK, "dataset=image_folder", "dataset.root=gone"))
