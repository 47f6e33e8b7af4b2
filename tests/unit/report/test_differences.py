"""`ltrun compare`: rows by name, their difference on paired seeds, and what is refused or left out."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltrun.cli import dispatch
from tests.support.predicted import save_run, scores_of, several_labels

COUNTS = [500, 300, 60, 5]  # two many, one medium, one few
LABELS = np.repeat(np.arange(4), [80, 60, 40, 20])
Out = Callable[..., dict[str, Any]]


def train(outputs: Path, method: str, seeds: Sequence[int], lift: float, **more: Any) -> list[Path]:
    """Writes the runs of a method. lift: how much higher the labels score."""
    found = []
    for seed in seeds:
        noise = 1000 * len(method) + seed + round(100 * lift)
        scores = {"plain": scores_of(LABELS, 4, noise, lift), "ncm": scores_of(LABELS, 4, noise + 500, lift + 1)}
        found.append(save_run(outputs, LABELS, scores, COUNTS, method=method, seed=seed, **more))
    return found


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    train(tmp_path, "erm", (0, 1, 2), 0.8)
    train(tmp_path, "ldam", (0, 1, 2), 2.4)
    return tmp_path


@pytest.fixture
def compared(capsys: pytest.CaptureFixture[str]) -> Out:
    def run(*argv: object) -> dict[str, Any]:
        """Returns the JSON of a comparison, with standard error as `said`."""
        code = dispatch(["compare", *map(str, argv), "--json"])
        out, err = capsys.readouterr()
        assert code == 0, err
        return {**json.loads(out), "said": err}

    return run


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run(*argv: object) -> str:
        assert dispatch(["compare", *map(str, argv)]) == 1
        out, err = capsys.readouterr()
        assert out == "" and "Traceback" not in err
        return err

    return run


def test_the_difference_is_that_of_the_tables_means(runs: Path, compared: Out, capsys: pytest.CaptureFixture[str]) -> None:
    for metric in ("accuracy", "error", "macro"):
        (found,) = compared("ldam", "erm", "--in", runs, "--metric", metric)["comparisons"]
        assert dispatch(["report", str(runs), "--json", "--metric", metric]) == 0
        (table,) = json.loads(capsys.readouterr().out)["tables"]
        mean = {row["keys"]["method"]: [cell["mean"] for cell in row["cells"]] for row in table["rows"][::2]}
        for i, column in enumerate(found["columns"]):
            assert [100 * column["one"], 100 * column["other"]] == pytest.approx([mean["ldam"][i], mean["erm"][i]])
            assert 100 * column["difference"] == pytest.approx(mean["ldam"][i] - mean["erm"][i])
            assert column["low"] <= column["difference"] <= column["high"]
        assert found["better"] == "one" and found["sentence"].startswith("LDAM is better than ERM ")


def test_images_count_more_right_images(runs: Path, compared: Out) -> None:
    (found,) = compared("ldam", "erm", "--in", runs)["comparisons"]
    whole, *groups = found["columns"]
    assert whole["images"] == 200 and whole["net_images"] == pytest.approx(200 * whole["difference"])
    assert [group["images"] for group in groups] == [140, 40, 20]
    assert sum(group["net_images"] for group in groups) == pytest.approx(whole["net_images"])
    assert found["notes"] == ["fewer than 30 test images, so the interval is rough: Few"]


def test_a_row_has_many_names(runs: Path, compared: Out) -> None:
    folder = next(runs.glob("*/ldam/*"))
    for name in ("ldam", "LDAM", " l d a m", folder.name, str(folder)):
        (found,) = compared(name, "erm", "--in", runs)["comparisons"]
        assert (found["one"], found["other"], found["seeds"]) == ("LDAM", "ERM", [0, 1, 2])
    for name in ("ldam:ncm", "LDAM · ncm", f"{folder.name}:ncm", f"{folder}:ncm"):
        (found,) = compared(name, "erm", "--in", runs)["comparisons"]
        assert found["one"] == "LDAM · ncm"
    (one,) = compared(folder / "seed1", folder / "seed1" / "result.json")["comparisons"]
    assert one["seeds"] == [1] and one["columns"][0]["difference"] == 0


def test_identical_runs_are_equal(runs: Path, tmp_path: Path, compared: Out) -> None:
    train(tmp_path / "again", "erm", (0, 1, 2), 0.8)
    (found,) = compared(runs / "cifar100_lt" / "erm", tmp_path / "again", "--in", runs)["comparisons"]
    assert [column["high"] - column["low"] for column in found["columns"]] == [0, 0, 0, 0]
    assert "are equal" in found["sentence"] and found["columns"][0]["p"] == 1 and found["better"] is None


def test_several_rows_are_corrected_by_holms_method(runs: Path, compared: Out) -> None:
    train(runs, "crt", (0, 1, 2), 1.0)
    found = compared("erm", "ldam", "crt", "--in", runs)["comparisons"]
    alone = [each["columns"][0]["p_alone"] for each in found]
    assert [each["columns"][0]["p"] for each in found] == pytest.approx([2 * alone[0], max(2 * alone[0], alone[1])])
    assert [each["comparisons"] for each in found] == [2, 2]


def test_where_undecided_the_number_of_seeds_is_said(tmp_path: Path, compared: Out) -> None:
    train(tmp_path, "erm", (0, 1), 0.8)
    train(tmp_path, "ldam", (0, 1), 1.2)
    (found,) = compared("ldam", "erm", "--in", tmp_path)["comparisons"]
    assert found["better"] is None
    assert "cannot be told apart with n = 2: about " in found["sentence"] and " seeds would be needed" in found["sentence"]


def test_unpaired_seeds_are_left_out(runs: Path, compared: Out, refused: Callable[..., str]) -> None:
    train(runs, "crt", (1, 2, 7), 1.0)
    train(runs, "crest", (8, 9), 1.0)
    (found,) = compared("crt", "erm", "--in", runs)["comparisons"]
    assert found["seeds"] == [1, 2]
    assert {"cRT is left out for seed 7, which ERM lacks", "ERM is left out for seed 0, which cRT lacks"} <= set(found["notes"])
    said = refused("crt", "crest", "--in", runs)
    assert "no runs pair: train CReST+ with seed=1,2,7" in said


def test_one_seed_has_the_noise_of_the_images_alone(tmp_path: Path, compared: Out) -> None:
    train(tmp_path, "erm", (0,), 0.8)
    train(tmp_path, "ldam", (0,), 2.4)
    (found,) = compared("ldam", "erm", "--in", tmp_path)["comparisons"]
    assert "one seed says nothing of other seeds" in found["sentence"] and "seed=0,1,2" in found["sentence"]


def test_missing_and_damaged_predictions_are_left_out(runs: Path, compared: Out, refused: Callable[..., str]) -> None:
    folders = sorted(runs.glob("*/ldam/*/seed*"))
    (folders[0] / "predictions.npz").unlink()
    (folders[1] / "predictions.npz").write_bytes(b"PK no archive")
    (found,) = compared("ldam", "erm", "--in", runs)["comparisons"]
    assert found["seeds"] == [2]
    assert any("is missing" in note and "Seed 0 is left out" in note for note in found["notes"])
    assert any("cannot be read" in note and "Seed 1 is left out" in note for note in found["notes"])
    (folders[2] / "predictions.npz").unlink()
    assert "LDAM and ERM cannot be compared: " in (said := refused("ldam", "erm", "--in", runs)) and "is missing" in said


def test_other_test_images_are_refused(runs: Path, refused: Callable[..., str]) -> None:
    labels = LABELS[::-1].copy()
    for seed in (0, 1):
        save_run(runs, labels, {"plain": scores_of(labels, 4, seed)}, COUNTS, method="crt", seed=seed)
    assert "the test images of cRT and ERM differ" in refused("crt", "erm", "--in", runs)


def test_other_data_are_refused(runs: Path, compared: Out, refused: Callable[..., str]) -> None:
    train(runs, "crt", (0, 1), 1.0, dataset="places_lt")
    said = refused("crt", "erm", "--in", runs)
    assert "runs of different data are not compared: cifar100_lt lacks crt; places_lt lacks erm" in said
    train(runs, "erm", (0, 1), 1.0, dataset="places_lt")
    (found,) = compared("crt", "erm", "--in", runs)["comparisons"]
    assert found["title"] == "places_lt"
    both = compared("ldam", "erm", "--in", runs)
    assert [each["title"] for each in both["comparisons"]] == ["cifar100_lt"]
    assert "places_lt is left out: it has no ldam" in both["said"]
    assert "--dataset: no run is of 'cifar'; did you mean" in refused("ldam", "erm", "--in", runs, "--dataset", "cifar")


def test_words_that_name_no_row_or_several_are_refused(runs: Path, refused: Callable[..., str]) -> None:
    assert "no row is called 'ldm'; did you mean 'ldam'?" in refused("ldm", "erm", "--in", runs)
    assert "no predictor 'nmc'; did you mean 'ncm'?" in refused("ldam:nmc", "erm", "--in", runs)
    assert "'erm' is named twice" in refused("erm", "erm", "--in", runs)
    assert "name two rows or more" in refused("erm", "--in", runs)
    assert "there is no no/where" in refused("erm", "no/where", "--in", runs)
    assert "--metric ece: rows are compared by accuracy, error, macro, map" in refused("ldam", "erm", "--metric", "ece")
    assert "--resamples 3: name 100 or more" in refused("ldam", "erm", "--resamples", "3")
    train(runs, "ldam", (0,), 1.0, config={"optimizer": {"lr": 0.5}})
    said = refused("ldam", "erm", "--in", runs)
    assert "ldam names 2 rows of cifar100_lt: name one by its label or fingerprint: 'LDAM (" in said


def test_several_labels_are_compared_by_mean_average_precision(
    tmp_path: Path, compared: Out, refused: Callable[..., str]
) -> None:
    labels, scores = several_labels(150, 4)
    for seed in (0, 1, 2):
        noise = np.random.default_rng(seed).normal(size=scores.shape).astype(np.float32)
        save_run(tmp_path, labels, {"plain": scores + noise}, COUNTS, method="erm", seed=seed)
        save_run(tmp_path, labels, {"plain": scores + 3 * noise}, COUNTS, method="ldam", seed=seed)
    assert "leave it out" in refused("erm", "ldam", "--in", tmp_path, "--resamples", 200)
    (found,) = compared("erm", "ldam", "--in", tmp_path)["comparisons"]
    whole = found["columns"][0]
    result = json.loads(next(tmp_path.glob("*/erm/*/seed0/result.json")).read_text())
    assert found["metric"] == "map" and whole["net_images"] is None and found["better"] == "one"
    assert (
        whole["low"] < whole["difference"] < whole["high"]
        and 0.9 < whole["one"] / result["predictors"]["plain"]["splits"]["test"]["map"] < 1.1
    )


def test_text_has_a_line_for_each_column(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dispatch(["compare", "ldam", "erm", "--in", str(runs)]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "CIFAR-100-LT: LDAM against ERM, 3 seeds (0, 1, 2)"
    assert [line.split()[0] for line in out[2:6]] == ["All", "Many", "Medium", "Few"]
    assert " of 200 " in out[2] and out[6].startswith("LDAM is better than ERM (+")
    assert out[-1].startswith("Intervals and p by a bootstrap over seeds and test images")
