"""Pre-trained weights in a configuration: an address counts their SHA-256, wherever the file lies."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from ltrun.config.compose import compose_job, hydra_ready
from ltrun.config.job import Job
from ltrun.config.recorded import job_of_record
from ltrun.errors import ConfigError, DataError
from ltrun.results.record import RunRecord

CHOICES = ("method=erm", "dataset=digits_lt", "network=resnet50")
CONTENT = b"no weights: composing does not read them"
DIGITS = hashlib.sha256(CONTENT).hexdigest()[:8]


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("LTRUN_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    with hydra_ready():
        yield folder


def job(*words: str) -> Job:
    return compose_job([*CHOICES, *words])


def file(path: Path, content: bytes = CONTENT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_a_file_in_two_places_is_one_run(tmp_path: Path) -> None:
    one, two = file(tmp_path / "a" / "r50.pth"), file(tmp_path / "b" / "r50.pth")
    first, second = (job(f"network.weights={path}") for path in (one, two))
    assert first.fingerprint == second.fingerprint and first.title == second.title
    assert first.config["network"]["sha256"] == DIGITS and first.config["network"]["weights"] == str(one)
    other = job(f"network.weights={file(tmp_path / 'c' / 'r50.pth', b'others')}")
    assert len({other.fingerprint, first.fingerprint, job().fingerprint}) == 3


def test_a_path_may_be_relative_and_only_its_file_name_is_in_the_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file(tmp_path / "deep" / "r50.pth")
    monkeypatch.chdir(tmp_path)
    found = job("network.weights=deep/r50.pth")
    assert found.config["network"]["weights"] == str(tmp_path / "deep" / "r50.pth")
    assert found.changes["network.weights"] == "r50.pth" and str(tmp_path) not in found.title


def test_without_weights_an_address_is_what_it_was(tmp_path: Path) -> None:
    assert "sha256" not in job().config["network"]
    assert job("network.download=true").fingerprint == job().fingerprint == job("network.weights=null").fingerprint
    assert job("network.cut=layer3").fingerprint == job().fingerprint


def test_published_weights_have_their_address_before_they_are_here(hub: Path) -> None:
    """The name of torchvision's file has the digits; the name and the file name are one run."""
    named = job("network.weights=IMAGENET1K_V1")
    assert named.config["network"]["sha256"] == "0676ba61"
    assert named.fingerprint == job("network.weights=resnet50-0676ba61.pth").fingerprint
    assert named.fingerprint != job("network.weights=IMAGENET1K_V2").fingerprint
    kept = file(hub / "mine.pth")
    assert job("network.weights=mine.pth").fingerprint == job(f"network.weights={kept}").fingerprint


def test_weights_that_are_nowhere_compose_under_their_name() -> None:
    found = job("network.weights=nowhere.pth")
    assert "sha256" not in found.config["network"] and found.fingerprint != job("network.weights=elsewhere.pth").fingerprint


def test_a_stated_sha256_must_be_the_files(tmp_path: Path) -> None:
    path = file(tmp_path / "r50.pth")
    whole = hashlib.sha256(CONTENT).hexdigest()
    assert job(f"network.weights={path}", f"+network.sha256={whole}").fingerprint == job(f"network.weights={path}").fingerprint
    with pytest.raises(ConfigError, match=r"network\.weights: .*r50\.pth is another file than the run's"):
        job(f"network.weights={path}", "+network.sha256='00000000'")


# ------------------------------------------------------------------------------------------------------------------ a rerun


def record_of(found: Job) -> RunRecord:
    metrics = {"accuracy": 0.5, "error": 0.5, "macro": 0.5, "many": 0.5, "medium": None, "few": 0.5, "ece": 0.1}
    return RunRecord(
        dataset=found.dataset,
        method=found.method,
        changes=dict(found.changes),
        choices=dict(found.choices),
        config=dict(found.config),
        seed=found.seed,
        fingerprint=found.fingerprint,
        headline="plain",
        selection="last",
        predictors={"plain": {"sees": [], "splits": {"test": metrics | {"per_class": [0.5, 0.5], "images": 4}}}},
        classes={"names": ["a", "b"], "counts": [9, 1]},
        stages=[{"name": "train", "epochs": 1, "seconds": 1.0}],
    )


def test_a_recorded_run_finds_its_weights_where_they_are_now(tmp_path: Path) -> None:
    path = file(tmp_path / "a" / "r50.pth")
    record = record_of(job(f"network.weights={path}", "network.download=true"))
    moved = tmp_path / "b" / "other_name.pth"
    moved.parent.mkdir()
    shutil.move(path, moved)
    again = job_of_record(record, tmp_path / "result.json", [f"network.weights={moved}"])
    assert again.fingerprint == record.fingerprint and again.config["network"]["weights"] == str(moved)
    assert again.config["network"]["download"] is False, "nothing is downloaded because a record says so"
    moved.write_bytes(b"others")
    with pytest.raises(DataError, match="is another file than the run's"):
        job_of_record(record, tmp_path / "result.json", [f"network.weights={moved}"])
