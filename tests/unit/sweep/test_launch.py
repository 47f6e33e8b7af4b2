"""Hydra's launchers: job files, paths in a sweep, and the overrides of Hydra that ltrun accepts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from ltrun.config.compose import compose_job
from ltrun.config.job import Job
from ltrun.errors import ConfigError, DataError
from ltrun.sweep.launch import check, overrides_of_hydra, quoted


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    GlobalHydra.instance().clear()
    with initialize_config_module("ltrun.conf", version_base="1.3"):
        yield


def test_a_saved_job_loads_unchanged(tmp_path: Path) -> None:
    words = ["method=crt", "margin=none", "dataset=digits_lt", "++optimizer.nesterov=true", "epochs=7", f"outputs={tmp_path}"]
    job = compose_job(words)
    file = job.save()
    assert file == job.folder / "job.json"
    there = Job.load(file)
    assert there == job
    assert (there.title, there.settings) == (job.title, job.settings)


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"config": {}, "colour": 1}', "\udcff"])
def test_a_file_that_is_no_job_is_named(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "job.json").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=r"job\.json cannot be read as a job"):
        Job.load(tmp_path / "job.json")


@pytest.mark.parametrize(
    "name",
    ["plain", "a b", "a,b", "a=b", "it's", 'so "called"', "[x]", "{x: 1}", "choice(1,2)", "$HOME", "${seed}", "back\\slash",
     "end\\", "end\\'", "\\'", "null", "1e3", "#1", "~", "ünï", " led"],
)  # fmt: skip
def test_any_path_can_be_swept_over(name: str, tmp_path: Path) -> None:
    paths = [tmp_path / name / "job.json", tmp_path / name]
    parser = OverridesParser.create()
    (sweep,) = parser.parse_overrides([f"job={','.join(map(quoted, paths))}"])
    found = [compose("launch", [f"job={value}"]).job for value in sweep.sweep_string_iterator()]
    assert found == list(map(str, paths))


def test_overrides_of_hydra_are_separated_from_overrides_of_a_run() -> None:
    words = ["hydra/launcher=joblib", "method=erm", "+hydra.job.env_set.A=1", "~hydra.callbacks", "dataset.root=hydra/x"]
    assert overrides_of_hydra(words) == [words[0], words[2], words[3]]


@pytest.mark.parametrize(
    "word", ["hydra/sweeper=ax", "+hydra/sweeper=basic_", "hydra.sweeper.params.seed=1", "hydra.sweeper=null"]
)
def test_another_sweeper_is_refused(word: str) -> None:
    with pytest.raises(ConfigError, match="ltrun itself composes the jobs of a sweep"):
        check([word])


def test_an_unknown_launcher_or_key_of_hydra_is_refused() -> None:
    check(["hydra/launcher=basic", "hydra/sweeper=basic", "hydra.sweeper.max_batch_size=2", "hydra.verbose=true"])
    for word in ("hydra/launcher=joblip", "hydra.verbos=true"):
        with pytest.raises(HydraException):
            check([word])
