"""Lookup of the single run of a path: its result, its folder, or a folder with one run below it."""

from pathlib import Path

import pytest

from ltrun.errors import DataError
from ltrun.results.find import run_at
from tests.support.recorded import record


def saved(outputs: Path, seed: int = 0) -> Path:
    return record(seed=seed).save(outputs / "cifar100_lt" / "erm" / "01234567" / f"seed{seed}")


@pytest.mark.parametrize("level", range(6))
def test_every_folder_above_a_lone_run_finds_it(tmp_path: Path, level: int) -> None:
    file = saved(tmp_path)
    path = [file, *file.parents][level]
    assert run_at(path) == (file, record())


def test_a_result_may_have_another_name(tmp_path: Path) -> None:
    file = saved(tmp_path).rename(tmp_path / "theirs.json")
    assert run_at(file) == (file, record())


def test_another_file_of_a_run_finds_it(tmp_path: Path) -> None:
    file = saved(tmp_path)
    (file.parent / "predictions.npz").touch()
    assert run_at(file.parent / "predictions.npz") == (file, record())
    file.unlink()
    with pytest.raises(DataError, match=r"predictions\.npz is not the result of a run"):
        run_at(file.parent / "predictions.npz")


def test_several_runs_are_listed(tmp_path: Path) -> None:
    folders = [saved(tmp_path, seed).parent for seed in (0, 1)]
    with pytest.raises(DataError, match="several runs") as refusal:
        run_at(tmp_path)
    assert all(str(folder) in str(refusal.value) for folder in folders)


def test_a_few_of_many_runs_are_listed(tmp_path: Path) -> None:
    for seed in range(20):
        saved(tmp_path, seed)
    with pytest.raises(DataError, match=r"several runs.* and others") as refusal:
        run_at(tmp_path)
    assert str(refusal.value).count("seed") == 12


def test_a_path_without_a_result_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no .*nowhere"):
        run_at(tmp_path / "nowhere")
    with pytest.raises(DataError, match="neither is nor holds a finished run"):
        run_at(tmp_path)
    (tmp_path / "error.log").write_text("its loss was not finite\ntraceback")
    with pytest.raises(DataError, match=r"failed \(its loss was not finite\)"):
        run_at(tmp_path)
