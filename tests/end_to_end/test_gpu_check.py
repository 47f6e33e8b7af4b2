"""The GPU check (benchmarks/gpu), prepared for its upload and run on a CPU."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.commands import environment
from tests.support.data_fakes import cifar_parquet

CHECKOUT = Path(__file__).parents[2]
STEPS = (
    "presets",
    "levers",
    "ranks",
    "photographs",
    "pack",
    "probe",
    "erm",
    "table",
)  # every kind of step; two minutes in all on two idle cores


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with empty wheels: the packages are installed on this machine."""
    made = tmp_path / "checkout"
    without = {"benchmarks": ("__pycache__", "results")}
    for folder in ("ltrun", "conf", "benchmarks", "tests"):
        ignored = shutil.ignore_patterns(*without.get(folder, ("__pycache__",)))
        shutil.copytree(CHECKOUT / folder, made / folder, symlinks=True, ignore=ignored)
    shutil.copy(CHECKOUT / ".gitignore", made)
    (made / ".gpu" / "whl").mkdir(parents=True)
    for package in ("hydra_core", "omegaconf", "antlr4_python3_runtime"):
        zipfile.ZipFile(made / ".gpu" / "whl" / f"{package}-0-py3-none-any.whl", "w").close()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(made)]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "A checkout"]):
        subprocess.run([*git, *words], check=True)
    return made


def given(checkout: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = environment(PYTHON=sys.executable, **variables)
    return subprocess.run(["bash", script], cwd=checkout, env=env, capture_output=True, text=True, check=False, timeout=1600)


@pytest.mark.slow
def test_the_gpu_check_is_prepared_and_runs_on_a_cpu(checkout: Path, tmp_path: Path) -> None:
    for split, per_class in (("train", 100), ("test", 5)):  # the long tail needs at least 100
        cifar_parquet(tmp_path / split, per_class, classes=100)
        (checkout / "data").mkdir(exist_ok=True)
        (tmp_path / split / f"{split}.parquet").rename(checkout / "data" / f"{split}.parquet")
    prepared = given(checkout, "benchmarks/gpu/prepare.sh")
    assert prepared.returncode == 0 and "of 64 MiB travel" in prepared.stdout, prepared.stdout + prepared.stderr
    assert (checkout / ".gpu" / "data" / "train.parquet").exists()
    ignored = subprocess.run(["git", "status", "--porcelain"], cwd=checkout, capture_output=True, text=True, check=True)
    assert not ignored.stdout

    choices = {"DEVICE": "cpu", "SMOKE": "1", "SLOW": "4", "BUDGET": "1500", "STEPS": " ".join(STEPS)}
    choices |= {"TABLE": "erm", "SEEDS": "0 1"}
    done = given(checkout, ".gpu/gpu_check.sh", **choices)
    out = checkout / ".gpu" / "out"
    log = (out / "check.log").read_text()
    assert done.returncode == 0, done.stdout + log
    written = {"summary.md", "check.log", "bench.json", "presets.json", "runs.tar.gz", "reproduction.json", "reproduction.md"}
    assert {path.name for path in out.iterdir()} == written
    bench = json.loads((out / "bench.json").read_text())
    assert [(step["step"], step["code"]) for step in bench["steps"]] == [(name, 0) for name in STEPS], log
    assert {record["benchmark"] for record in bench["records"]} == {"levers", "ranks", "photographs", "lanes", "probe"}
    assert all(record["complete"] for record in bench["records"])
    presets = json.loads((out / "presets.json").read_text())["results"]["presets"]
    assert [row["verdict"] for row in presets] == ["same bits"] * 2
    with tarfile.open(out / "runs.tar.gz") as runs:
        assert [Path(name).name for name in sorted(runs.getnames())] == 3 * ["metrics.jsonl", "result.json"]
    table = json.loads((out / "reproduction.json").read_text())["runs"]
    assert [(run["method"], run["seed"]) for run in table] == [("erm", 0), ("erm", 1)]
    summary = (out / "summary.md").read_text()
    assert "* same bits: 2" in summary and "| erm" in summary
    assert "* fp32: not measured, needs CUDA: rows_in_graph, " in summary and "it failed" not in summary
    assert "* erm, 2 ranks, sync_bn: the losses of one process" in summary
    assert "* decoding: the same pictures, pixels 0.00 levels of 255 apart in the mean, 0 at most" in summary
    assert "* fp32 NHWC: one run does" in summary and "fp32 NHWC: 4 at once" in summary and "fp32, no graph" in summary


def test_an_upload_above_64_mib_is_refused(checkout: Path) -> None:
    (checkout / ".gpu" / "data").mkdir()
    with (checkout / ".gpu" / "data" / "train.parquet").open("wb") as file:
        file.truncate(64 * 2**20)
    done = given(checkout, "benchmarks/gpu/prepare.sh")
    assert done.returncode == 1 and "the limit is 64 MiB" in done.stderr and "train.parquet" in done.stderr
