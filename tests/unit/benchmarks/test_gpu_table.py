"""The table of the reproduction: what it says of bands and orders, and that it goes on where it stopped."""

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ltrun.config import catalogue
from ltrun.results.record import RunRecord
from tests.support.recorded import record

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "gpu_table.py"


def _loaded() -> Any:
    spec = importlib.util.spec_from_file_location("gpu_table", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PUBLISHED = _loaded().literature()


@pytest.fixture(scope="module")
def gpu_table() -> Any:
    return _loaded()


def scored(method: str, percent: float, seed: int = 0, **more: Any) -> RunRecord:
    made = record(method, seed, **more)
    made.predictors["plain"]["splits"]["test"] |= {"accuracy": percent / 100, "error": 1 - percent / 100}
    return made


def test_every_band_is_of_a_preset_and_every_check_of_a_band() -> None:
    presets = {option.name for option in catalogue.options("method")}
    assert set(PUBLISHED["methods"]) <= presets
    for one, relation, other in PUBLISHED["checks"]:
        assert {one, other} <= set(PUBLISHED["methods"]) and relation in ("<", "<=", "~")
    bands = {name: row["band"] for name, row in PUBLISHED["methods"].items()}
    assert [name for name, band in bands.items() if band is None] == ["drs"], "the header of a preset ends with its band"
    assert all(band[0] < band[1] for band in bands.values() if band)
    assert bands["ldam_drw"] == (41, 43), "as conf/method/ldam_drw.yaml has it"


def test_means_are_held_against_bands_and_orders(gpu_table: Any) -> None:
    means = {"erm": [38.2, 38.4, 39.0], "inverse_frequency": [38.6], "class_balanced_sampling": [36.0], "drs": [40.6]}
    means |= {"ce_drw": [43.0], "ldam_drw": [43.0], "logit_adjustment": [44.0], "posthoc_logit_adjustment": [42.4]}
    records = [scored(method, value, seed) for method, values in means.items() for seed, value in enumerate(values)]
    made = gpu_table.summary(PUBLISHED, records, ["erm"], [])
    rows = {row["method"]: row for row in made["rows"]}
    assert rows["erm"]["n"] == 3 and rows["erm"]["all"]["mean"] == pytest.approx(38.533, abs=1e-3)
    verdicts = {name: row["verdict"] for name, row in rows.items()}
    assert verdicts["erm"] == verdicts["ldam_drw"] == "inside", "an end of a band belongs to it"
    assert verdicts["inverse_frequency"] == verdicts["ce_drw"] == "above"
    assert verdicts["drs"] == "" and verdicts["bbn"] == "not yet run"
    assert [check["verdict"] for check in made["checks"]] == ["fails", "holds", "holds", "holds", "holds", "holds", "fails"]
    shown = gpu_table.markdown(made)
    assert (
        "| erm | 37.5 to 39.5 | 38.5 ± 0.4 |" in shown and "| bbn | 41.5 to 43 | – | – | – | – | 0 | not yet run | – |" in shown
    )
    assert "posthoc_logit_adjustment about logit_adjustment | 42.4 and 44.0 | fails |" in shown


def test_another_recipe_is_not_held_against_the_bands(gpu_table: Any) -> None:
    made = gpu_table.summary(PUBLISHED, [scored("erm", 20.0, changes={"epochs": 1})], ["erm"], ["epochs=1"])
    assert made["rows"][0]["verdict"] == ""
    assert "Not the published recipe: epochs=1." in gpu_table.markdown(made)


def test_an_older_configuration_of_a_method_is_not_averaged_in(gpu_table: Any) -> None:
    old = scored("erm", 30.0, config={"optimizer": {"lr": 0.2}}, date="2023-01-01T00:00:00+00:00")
    records = gpu_table._newest([old, scored("erm", 38.0, 1), scored("erm", 39.0, 2)])
    assert gpu_table.summary(PUBLISHED, records, [], [])["rows"][0]["all"]["mean"] == pytest.approx(38.5)


@pytest.mark.slow
def test_it_stops_in_time_and_goes_on_without_training_twice(tmp_path: Path) -> None:
    def table(*words: str) -> subprocess.CompletedProcess[str]:
        fixed = ["--dataset", "digits_lt", "--methods", "erm", "--device", "cpu", "--results", "results"]
        command = [sys.executable, str(SCRIPT), *fixed, *words, "epochs=1", "runtime.threads=1"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)

    first = table("--seeds", "0", "--time", "1")
    assert "0 of 1 runs are done; the same command goes on" in first.stdout
    assert "1 of 1 runs are done" in table("--seeds", "0").stdout
    shutil.rmtree(tmp_path / "outputs")  # as on another machine, to which the results alone were carried
    last = table("--seeds", "0 1")
    assert "2 of 2 runs are done" in last.stdout
    assert len(list(tmp_path.rglob("metrics.jsonl"))) == 1, "only the run that was missing was trained"
    (file,) = (tmp_path / "results").glob("*.json")
    assert file.stem == "gpu_table-dataset_digits_lt-epochs_1", "another recipe is another table"
    made = json.loads(file.read_text())
    assert [run["seed"] for run in made["runs"]] == [0, 1] and made["rows"][0]["n"] == 2
    assert made["device"] == ["cpu"] and made["settings"]["changes"] == ["dataset=digits_lt", "epochs=1"]
