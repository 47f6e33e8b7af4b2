"""Recipes of a method on a data set, in commands: a packed sweep, its table and records, a rerun, --cfg job."""

from pathlib import Path

import pytest

from ltrun.results.record import RunRecord
from tests.support.commands import Run
from tests.support.files import write_files

FILES = {
    "dataset/squares.yaml": """# @package _global_
# name: Squares
# Digits by another name, for a second data set.
# No publication: a test
defaults:
  - override /network: resnet8

epochs: 2
batch_size: 32
runtime:
  threads: 1

dataset:
  name: squares
  _target_: ltrun.data.DigitsLT
  imbalance: 10
  prepare:
    _target_: ltrun.data.Normalise
    mean: [0.3]
    std: [0.4]
""",
    "on/method/erm@squares.yaml": """# @package _global_
# A recipe.
# No publication: a test
defaults:
  - _self_
  - override /optimizer: ride

batch_size: 64
""",
    "on/optimizer/ride@squares.yaml": "# A rate.\n# No publication: a test\nlr: 0.025\n",
}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return write_files(tmp_path / "own", FILES)


def test_a_packed_sweep_over_data_sets_trains_each_by_its_recipe(ltrun: Run, own: Path, tmp_path: Path) -> None:
    words = ["--config-dir", str(own), "-m", "method=erm,focal", "dataset=digits_lt,squares", "epochs=1", "runtime.pack=2"]
    done = ltrun(*words)
    assert done.returncode == 0, done.stderr
    records = {(found.dataset, found.method): found for found in map(RunRecord.load, tmp_path.rglob("result.json"))}
    settings = {key: (each.config["batch_size"], each.config["optimizer"]["lr"]) for key, each in records.items()}
    assert settings == {
        ("digits_lt", "erm"): (32, 0.1), ("digits_lt", "focal"): (32, 0.1),
        ("squares", "erm"): (64, 0.025), ("squares", "focal"): (32, 0.1),
    }  # fmt: skip
    assert all(each.changes == {"epochs": 1} for each in records.values()), "a recipe is no change to the preset"
    assert records["squares", "erm"].choices["optimizer"] == "ride"
    again = ltrun(*words)
    assert again.returncode == 0 and again.stdout.count("done before") == 4
    file = next(tmp_path.rglob("squares/erm/*/seed0/result.json"))
    rerun = ltrun("rerun", str(file), "outputs=again")
    assert rerun.returncode == 0 and "all numbers equal the record's" in rerun.stdout, rerun.stderr


def test_hydra_shows_the_configuration_with_the_recipe(ltrun: Run, own: Path) -> None:
    shown = ltrun("--config-dir", str(own), "dataset=squares", "--cfg", "job").stdout
    assert "batch_size: 64" in shown and "lr: 0.025" in shown
    assert "batch_size: 16" in ltrun("--config-dir", str(own), "dataset=squares", "batch_size=16", "--cfg", "job").stdout
