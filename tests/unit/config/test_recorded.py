"""Jobs of recorded runs: the recorded configuration, with the folders and packages of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra

from ltrun.config.compose import compose_job
from ltrun.config.job import Job
from ltrun.config.recorded import command_of, drift, job_of_record
from ltrun.errors import ConfigError, DataError
from ltrun.results.address import fingerprint
from ltrun.results.record import RunRecord
from tests.support.recorded import record

FILE = Path("theirs.json")
WORDS = ["dataset=digits_lt", "seed=2", "outputs=there", "runtime.threads=3", "plugins=[]"]
METHODS = ["erm", "ldam_drw", "crt", "cmo", "bbn", "sade", "tau_norm", "meta_weight_net", "posthoc_logit_adjustment"]


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_module("ltrun.conf", version_base="1.3"):
        yield


def recorded(job: Job, **changes: Any) -> RunRecord:
    """Returns the record of a job, with made-up numbers. changes: keys of the configuration and their values."""
    config = {**job.config, **changes}
    return replace(
        record(seed=job.seed, predictors={job.headline: []}),
        dataset=job.dataset,
        method=job.method,
        changes=dict(job.changes),
        choices=dict(job.choices),
        config=config,
        fingerprint=fingerprint(config),
        headline=job.headline,
        selection=job.settings.selection,
        command=list(job.command),
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_job_of_a_record_is_the_recorded_job(method: str) -> None:
    job = compose_job([f"method={method}", *WORDS])
    again = job_of_record(recorded(job), FILE, ["outputs=there"])
    assert replace(again, command=job.command) == job
    assert drift(recorded(job)) == []


def test_outputs_force_and_plugins_are_not_taken_from_the_record() -> None:
    job = compose_job(["method=erm", *WORDS])
    again = job_of_record(recorded(job, outputs="/outside", force=True, plugins=["theirs"]), FILE, [])
    assert (again.config["outputs"], again.config["force"], again.config["plugins"]) == ("outputs", False, [])
    assert again.folder.parts[0] == "outputs" and again.folder.parts[1:] == job.folder.parts[1:]
    assert again.settings.runtime.threads == 3, "settings of runtime come from the record"


def test_overrides_of_a_rerun_take_effect() -> None:
    job = compose_job(["method=erm", *WORDS])
    again = job_of_record(recorded(job), FILE, ["seed=5", "runtime.threads=1", "evaluation.batch_size=7"])
    assert (again.seed, again.settings.runtime.threads, again.settings.evaluation.batch_size) == (5, 1, 7)
    assert again.fingerprint == job.fingerprint and again.folder.name == "seed5"
    assert again.command == ["method=erm", "dataset=digits_lt", "outputs=there", "plugins=[]", *again.command[4:]]
    assert again.command[4:] == ["seed=5", "runtime.threads=1", "evaluation.batch_size=7"]


@pytest.mark.parametrize("word", ["epochs=3", "margin=ldam", "+seed=1", "~seed", "seed@x=1", "dataset.name=x", "nothing=1"])
def test_overrides_that_make_another_run_are_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="a rerun trains the configuration of its record"):
        job_of_record(recorded(compose_job(["method=erm", *WORDS])), FILE, [word])


def test_a_record_with_the_fingerprint_of_another_configuration_is_refused() -> None:
    kept = recorded(compose_job(["method=erm", *WORDS]))
    with pytest.raises(DataError, match=r"theirs\.json: its configuration has the fingerprint"):
        job_of_record(replace(kept, fingerprint="01234567"), FILE, [])


def test_cifar_is_read_from_ltrun_data_unless_the_recorded_folder_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LTRUN_DATA", str(tmp_path / "mine"))
    job = compose_job(["method=erm", "dataset=cifar10_lt", f"dataset.root={tmp_path / 'theirs'}"])
    dataset = job_of_record(recorded(job), FILE, []).config["dataset"]
    assert (dataset["root"], dataset["download"]) == (str(tmp_path / "mine"), True)
    (tmp_path / "theirs").mkdir()
    dataset = job_of_record(recorded(job), FILE, []).config["dataset"]
    assert (dataset["root"], dataset["download"]) == (str(tmp_path / "theirs"), False)
    dataset = job_of_record(recorded(job), FILE, ["dataset.download=true", "dataset.root=x"]).config["dataset"]
    assert (dataset["root"], dataset["download"]) == ("x", True)


def test_drift_lists_changed_keys_and_is_none_if_an_option_is_gone() -> None:
    job = compose_job(["method=ldam", *WORDS])
    margin = {"adjust": {**job.config["margin"]["adjust"], "max_margin": 0.3}}
    assert drift(recorded(job, margin=margin)) == ["margin.adjust.max_margin"]
    assert drift(replace(recorded(job), command=["method=gone"])) is None
    assert drift(replace(recorded(job), command=[])) == []


def test_a_record_without_a_command_has_no_command_for_a_rerun() -> None:
    job = compose_job(["method=erm", *WORDS])
    assert command_of(replace(recorded(job), command=[]), ["seed=1"]) == []
