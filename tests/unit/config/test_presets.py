"""Presets of runs: a run finds its preset by the fingerprints of training and predictor, not by the preset's name."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ltrun.config.compose import compose_job
from ltrun.config.presets import Key, composing, jobs_of, key_of, keys_in, recipe_of, words_of
from tests.support.recorded import record


@pytest.fixture(autouse=True)
def _composing() -> Iterator[None]:
    with composing():
        yield


def key(*words: str) -> Key:
    return key_of(compose_job(words))


def test_arithmetic_seed_and_posthoc_parts_leave_the_key_of_the_training_unchanged() -> None:
    plain = key("method=erm")
    assert key("method=erm", "seed=4", "runtime.precision=bf16") == plain
    assert key("margin=ldam", "classifier=cosine") == key("method=ldam"), "the options of a preset give the key of the preset"
    normed = key("method=tau_norm")
    assert normed.training == plain.training and normed.predictor != plain.predictor
    assert key("method=tau_norm", "posthoc.predictors.tau_norm.tau=0.5").predictor != normed.predictor
    assert key("method=erm", "epochs=20").training != plain.training


def test_a_run_has_the_keys_of_all_its_predictors() -> None:
    job = compose_job(["method=erm", "posthoc=[tau_norm,ncm]"])
    run = replace(record(predictors={"plain": [], "tau_norm": [], "ncm": []}), config=job.config)
    named = {name: found for found, name in keys_in(run).items()}
    assert named == {"plain": key("method=erm"), "tau_norm": key("method=tau_norm"), "ncm": key("method=ncm")}


def test_a_recipe_is_the_changes_to_the_preset_without_posthoc_parts_and_arithmetic() -> None:
    changes = {"runtime.precision": "bf16", "posthoc": ["ncm"], "optimizer.lr": 0.2, "epochs": 20, "margin": None}
    assert recipe_of("cifar100_lt", changes, "cifar100_lt") == ("epochs=20", "margin=null", "optimizer.lr=0.2")
    assert recipe_of("cifar10_lt", {}, "cifar100_lt") == ("dataset=cifar10_lt",)
    assert words_of("erm", "cifar100_lt", ("epochs=20",)) == ["method=erm", "dataset=cifar100_lt", "epochs=20"]
    assert words_of("erm", "cifar100_lt", ("dataset=cifar10_lt",)) == ["method=erm", "dataset=cifar10_lt"]


def test_jobs_train_the_methods_with_the_recipe() -> None:
    (job,) = jobs_of(["crt"], "cifar100_lt", ("epochs=20",)).values()
    assert (job.method, job.dataset, job.config["epochs"], job.seed) == ("crt", "cifar100_lt", 20, 0)
