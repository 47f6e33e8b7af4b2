"""hydra/sweeper=optuna: values are proposed by the validation split, and the same command resumes the search."""

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

from ltrun.metrics import BALANCED
from tests.support.commands import Run, refused

SEARCH = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "dataset=digits_lt", "epochs=1", "runtime.pack=1")
SPLIT = "dataset.validation_per_class=10"
LR = "optimizer.lr=tag(log,interval(0.001,0.2))"
optuna = pytest.mark.skipif(find_spec("optuna") is None, reason="needs optuna: pip install 'ltrun[hpo]'")


@optuna
def test_the_best_proposal_has_the_best_mean_on_validation_images(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun(*SEARCH, SPLIT, LR, "seed=0,1")
    assert done.returncode == 0, done.stderr
    records = [json.loads(path.read_text()) for path in tmp_path.rglob("result.json")]
    means: dict[float, list[float]] = {}
    for record in records:
        value = record["predictors"]["plain"]["splits"]["val"][BALANCED[record["task"]]]
        means.setdefault(record["config"]["optimizer"]["lr"], []).append(value)
    assert len(means) == 2 and all(len(values) == 2 for values in means.values()), "each proposal trains both seeds"
    best = max(means, key=lambda lr: sum(means[lr]))
    assert f"best of 2 proposals: {50 * sum(means[best]):.1f}% on the validation split" in done.stdout
    assert f"optimizer.lr={best}\n" in done.stdout
    again = ltrun(*SEARCH, SPLIT, LR, "seed=0,1")
    assert again.stdout.count("done before") == 4, "the same proposals, whose runs are done"
    assert again.stdout.partition("best of")[2] == done.stdout.partition("best of")[2]


@optuna
def test_a_proposal_that_fails_stops_no_other(ltrun: Run) -> None:
    done = ltrun(*SEARCH, SPLIT, "optimizer.lr=1e30,0.1", "hydra.sweeper.sampler=random", "hydra.sweeper.n_trials=3")
    assert done.returncode == 1 and "the loss is not finite" in done.stderr and "Traceback" not in done.stderr
    assert "optimizer.lr=0.1\n" in done.stdout.partition("best of")[2]


@optuna
def test_a_search_needs_validation_images_and_something_to_search(ltrun: Run, tmp_path: Path) -> None:
    said = refused(ltrun(*SEARCH, LR))
    assert "compares runs on validation images, and this data set has none; add dataset.validation_per_class=" in said
    assert "no key is searched" in refused(ltrun(*SEARCH, SPLIT, "seed=0,1"))
    assert "expected tpe or random, got grid" in refused(ltrun(*SEARCH, SPLIT, LR, "hydra.sweeper.sampler=grid"))
    assert "hydra.sweeper.n_trials: expected a whole number" in refused(ltrun(*SEARCH[:2], "hydra.sweeper.n_trials=0", LR))
    assert "hydra.sweeper.trials" in refused(ltrun(*SEARCH, SPLIT, LR, "hydra.sweeper.trials=3"))
    assert "searches by the jobs of a sweep" in refused(ltrun(*SEARCH[1:], SPLIT, "optimizer.lr=0.1"))
    assert not list(tmp_path.rglob("metrics.jsonl"))


@pytest.mark.skipif(find_spec("optuna") is not None, reason="optuna is installed")
def test_a_search_without_optuna_names_the_extra(ltrun: Run) -> None:
    assert "hydra/sweeper=optuna needs optuna: pip install 'ltrun[hpo]'" in refused(ltrun(*SEARCH, SPLIT, LR))
