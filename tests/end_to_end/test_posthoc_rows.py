"""Post-hoc methods as rows of one run: a row per tau, marks for test inputs, refused combinations, headlines."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.commands import SHORT, Run, refused


def predictors(folder: Path) -> dict[str, Any]:
    (result,) = folder.rglob("result.json")
    return json.loads(result.read_text())["predictors"]


def test_a_tau_sweep_adds_a_row_per_tau_to_one_run(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("posthoc=[logit_adjustment,logit_adjustment_sweep,tau_norm_sweep]", *SHORT)
    assert done.returncode == 0, done.stderr
    rows = predictors(tmp_path)
    assert [name for name in rows if name.startswith("la_")] == [
        f"la_{tau}" for tau in ("0.25", "0.5", "0.75", "1", "1.5", "2")
    ]
    assert {"plain", "logit_adjustment", "tau_norm_0", "tau_norm_0.75", "tau_norm_2"} <= rows.keys()
    assert "la_0.25" in done.stdout and "tau_norm_1.5" in done.stdout
    (file,) = tmp_path.rglob("predictions.npz")
    scores = np.load(file)
    np.testing.assert_array_equal(scores["test_scores_la_1"], scores["test_scores_logit_adjustment"])
    half = (scores["test_scores_plain"] + scores["test_scores_la_1"]) / 2
    np.testing.assert_allclose(scores["test_scores_la_0.5"], half, atol=1e-5)


def test_a_part_that_saw_test_inputs_is_marked(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("posthoc=[effective_prior,label_shift_em]", *SHORT)
    assert done.returncode == 0, done.stderr
    rows = predictors(tmp_path)
    assert rows["label_shift_em"]["sees"] == ["test_inputs", "train"] and rows["effective_prior"]["sees"] == ["train"]
    marked = [line.partition(" · ")[2].split()[:2] for line in done.stdout.splitlines() if "†" in line and " · " in line]
    assert marked and all("label_shift_em" in " ".join(row) for row in marked)
    assert "saw test inputs" in done.stdout


def test_tde_takes_its_heads_from_the_classifier(ltrun: Run, tmp_path: Path) -> None:
    assert "num_heads" in refused(ltrun("classifier=causal", "classifier.head.num_heads=5", *SHORT))
    done = ltrun("method=deconfound_tde", "classifier.head.num_heads=4", *SHORT)
    assert done.returncode == 0, done.stderr
    assert list(predictors(tmp_path)) == ["plain", "tde"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("posthoc=tde",), ("posthoc=tde", "classifier=linear")),
        (("classifier=causal", "margin=ldam"), ("margin=ldam", "classifier=causal")),
        (("posthoc=uno_ic_flattened",), ("posthoc=uno_ic_flattened", "dataset.validation_per_class")),
        (("posthoc=pc_softmax", "posthoc.predictors.pc_softmax.target=[1,2]"), ("posthoc.predictors.pc_softmax", "target")),
    ],
)
def test_an_incompatible_combination_is_refused(ltrun: Run, arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    sentence = refused(ltrun(*arguments, *SHORT))
    assert all(word in sentence for word in words), sentence


def test_temperature_scaling_is_a_row_with_better_calibration_and_the_same_predictions(ltrun: Run, tmp_path: Path) -> None:
    sentence = refused(ltrun("posthoc=temperature_scaling", *SHORT))
    assert "posthoc=temperature_scaling" in sentence and "dataset.validation_per_class" in sentence
    words = (
        "method=ldam_drw",
        "posthoc=temperature_scaling",
        "dataset=digits_lt",
        "dataset.validation_per_class=10",
        "epochs=6",
    )
    done = ltrun(*words)
    assert done.returncode == 0, done.stderr
    rows = predictors(tmp_path)
    plain, scaled = (rows[name]["splits"]["test"] for name in ("plain", "temperature_scaling"))
    assert rows["temperature_scaling"]["sees"] == ["val"] and scaled["per_class"] == plain["per_class"]
    assert scaled["ece"] < plain["ece"]
    report = ltrun("report", "outputs", "--metric", "ece")
    assert report.returncode == 0 and "temperature_scaling" in report.stdout


def test_uno_ic_flattening_sees_the_validation_split(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("posthoc=[uno_ic,uno_ic_flattened]", "dataset.validation_per_class=10", *SHORT)
    assert done.returncode == 0, done.stderr
    assert predictors(tmp_path)["uno_ic_flattened"]["sees"] == ["val"]


def test_disalign_keeps_the_joint_stage(ltrun: Run, tmp_path: Path) -> None:
    """The second stage changes no weight of the first: only scale, offset and confidence are new."""
    torch = pytest.importorskip("torch")
    assert ltrun("method=disalign", "outputs=a", *SHORT).returncode == 0
    assert ltrun("method=erm", "outputs=b", *SHORT).returncode == 0
    states = []
    for folder in ("a", "b"):
        (file,) = (tmp_path / folder).rglob("*.pt")
        states.append(torch.load(file, weights_only=True)["module"])
    two, one = ({k.removeprefix("objective.network."): v for k, v in s.items() if ".network." in k} for s in states)
    for name, value in one.items():
        if "running" not in name and "num_batches" not in name:
            assert torch.equal(value, two[name.replace("head.", "head.head.")]), name
    assert not torch.equal(two["head.scales"], torch.ones(10)) and two["head.biases"].any()


@pytest.mark.parametrize(("posthoc", "rows"), [("none", ["plain"]), ("[ncm,tau_norm]", ["plain", "ncm", "tau_norm"])])
def test_a_preset_whose_posthoc_part_is_replaced_still_has_a_headline(
    posthoc: str, rows: list[str], ltrun: Run, tmp_path: Path
) -> None:
    done = ltrun("method=tau_norm", f"posthoc={posthoc}", *SHORT)
    assert done.returncode == 0, done.stderr
    assert list(predictors(tmp_path)) == rows
    (result,) = tmp_path.rglob("result.json")
    assert json.loads(result.read_text())["headline"] == rows[-1]
