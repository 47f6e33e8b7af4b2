"""Real CIFAR-100: the size of the long-tailed subset, and a short training above chance."""

import json
from pathlib import Path

import pytest

from tests.support.commands import Run


@pytest.mark.slow
def test_a_short_training_on_real_images_is_above_chance(ltrun: Run, cifar100_root: Path, tmp_path: Path) -> None:
    done = ltrun(
        "method=balanced_softmax", "dataset=cifar100_lt", f"dataset.root={cifar100_root}", "network=resnet8", "epochs=1"
    )
    assert done.returncode == 0, done.stderr
    assert "10,847 training, 10,000 test" in done.stdout
    (result,) = tmp_path.rglob("result.json")
    record = json.loads(result.read_text())
    assert sum(record["classes"]["counts"]) == 10_847
    metrics = record["predictors"]["plain"]["splits"]["test"]
    assert metrics["images"] == 10_000
    # chance is 0.01 with a standard deviation of 0.001; one epoch of this small network reaches about 0.05
    assert metrics["accuracy"] > 0.02
    assert metrics["accuracy"] == pytest.approx(metrics["macro"], rel=1e-12), "the test set is balanced"
