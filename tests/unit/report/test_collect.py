"""Collection of runs: each finished run is found once, and every other file or folder is named as a problem."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from ltrun.errors import ConfigError, DataError
from ltrun.report import collect, tables
from ltrun.report.collect import places
from ltrun.results.address import address
from ltrun.results.record import RunRecord
from tests.support.recorded import record


def save(root: Path, run: RunRecord) -> Path:
    return run.save(address(root, run.dataset, run.method, run.fingerprint, run.seed))


def kinds(problems: list) -> list[str]:
    return [problem.kind for problem in problems]


def test_finds_runs_at_any_depth_in_a_stable_order(tmp_path: Path) -> None:
    runs = [record(method, seed) for method in ("ldam", "erm") for seed in (1, 0)]
    for run in runs:
        save(tmp_path / "a" / "b", run)
    found, problems = collect([tmp_path])
    assert problems == []
    assert [(run.method, run.seed) for run in found] == [("erm", 0), ("erm", 1), ("ldam", 0), ("ldam", 1)]


def test_paths_may_overlap_and_name_a_run_or_its_file(tmp_path: Path) -> None:
    file = save(tmp_path, record())
    for paths in ([file], [file.parent], [tmp_path, file.parent, file], [tmp_path, tmp_path]):
        found, problems = collect(paths)
        assert (len(found), problems) == (1, [])


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    save(tmp_path / "disk", record())
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "link").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "circle").symlink_to(tmp_path / "disk")
    found, problems = collect([tmp_path / "outputs"])
    assert (len(found), problems) == (1, [])


def test_a_run_without_a_result_is_unfinished(tmp_path: Path) -> None:
    save(tmp_path, record(seed=0))
    begun = address(tmp_path, "cifar100_lt", "erm", "0123abcd", 7)
    begun.mkdir(parents=True)
    elsewhere = tmp_path / "copied"
    elsewhere.mkdir()
    (elsewhere / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "not_a_run" / "seed1").mkdir(parents=True)
    refused = address(tmp_path, "cifar100_lt", "erm", "0123abcd", 8)  # before anything was trained
    refused.mkdir(parents=True)
    (refused / ".lock").touch()
    found, problems = collect([tmp_path])
    assert len(found) == 1
    assert {problem.path for problem in problems} == {begun, elsewhere}
    assert kinds(problems) == ["unfinished"] * 2


def test_a_run_that_failed_says_why(tmp_path: Path) -> None:
    refused = address(tmp_path, "cifar100_lt", "erm", "0123abcd", 7)  # before anything was trained
    refused.mkdir(parents=True)
    (refused / ".lock").touch()
    (refused / "error.log").write_text("optimizer.lr: lr must be above 0, got -1\n")
    done = save(tmp_path, record(seed=0))
    (done.parent / "error.log").write_text("of an attempt before\n")
    found, problems = collect([tmp_path])
    assert (len(found), kinds(problems)) == (1, ["failed"])
    assert problems[0].text == f"{refused} failed: optimizer.lr: lr must be above 0, got -1"


def test_damaged_and_foreign_files_are_named_and_skipped(tmp_path: Path) -> None:
    save(tmp_path, record("erm"))
    half = save(tmp_path, record("ldam"))
    half.write_bytes(half.read_bytes()[:500])
    foreign = tmp_path / "other_program" / "result.json"
    foreign.parent.mkdir()
    foreign.write_text('{"accuracy": 0.99}')
    folder = tmp_path / "folder" / "result.json"
    folder.mkdir(parents=True)
    found, problems = collect([tmp_path])
    assert [run.method for run in found] == ["erm"]
    assert sorted(kinds(problems)) == ["damaged", "damaged"]
    assert {problem.path for problem in problems} == {half, foreign}
    assert all(str(problem.path) in problem.text for problem in problems)


def test_a_half_written_result_is_a_problem_and_never_a_number(tmp_path: Path) -> None:
    whole, half = (save(tmp_path, record(method, counts=[500, 10])) for method in ("erm", "ldam"))
    data = half.read_bytes().strip()
    expected = RunRecord.load(whole)
    for length in range(len(data)):
        half.write_bytes(data[:length])
        found, problems = collect([tmp_path])
        assert found == [expected]
        assert [problem.path for problem in problems] == [half]


def test_copies_count_once(tmp_path: Path) -> None:
    save(tmp_path / "here", record())
    save(tmp_path / "there", record())
    found, problems = collect([tmp_path])
    assert len(found) == 1
    assert kinds(problems) == ["duplicate"]
    assert "the tables count it once" in problems[0].text


@pytest.mark.parametrize("later", ["a", "b"])
def test_the_later_of_two_runs_of_one_seed_counts(tmp_path: Path, later: str) -> None:
    for name, numbers in (("a", 1), ("b", 2)):
        save(tmp_path / name, record(numbers=numbers, date=f"202{5 if name == later else 4}-01-01T00:00:00+00:00"))
    found, problems = collect([tmp_path])
    kept = RunRecord.load(next((tmp_path / later).rglob("result.json")))
    assert found == [kept]
    (problem,) = problems
    assert problem.path == next((tmp_path / ("b" if later == "a" else "a")).rglob("result.json"))
    assert "other numbers" in problem.text


def test_the_same_configuration_on_other_data_or_under_another_method_is_another_run(tmp_path: Path) -> None:
    base = record()
    others = [replace(base, dataset="my_photos"), replace(base, method="other"), replace(base, seed=5)]
    for i, run in enumerate([base, *others]):
        run.save(tmp_path / str(i))
    found, problems = collect([tmp_path])
    assert (len(found), problems) == (4, [])


def test_missing_and_unreadable_folders_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path, record())
    found, problems = collect([tmp_path / "nowhere", tmp_path])
    assert len(found) == 1
    assert kinds(problems) == ["unreadable"]
    assert "nowhere" in problems[0].text
    real = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("erm"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", closed)
    found, problems = collect([tmp_path])
    assert found == []
    assert kinds(problems) == ["unreadable"]


def test_a_command_without_a_folder_reads_where_runs_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LTRUN_OUTPUTS", "~/runs")
    with pytest.raises(DataError, match=r"there is no .*/runs: train a run"):
        places([])
    for name in ("runs", "outputs"):
        (tmp_path / name).mkdir()
    assert places([]) == [tmp_path / "runs"]
    assert places([tmp_path]) == [tmp_path]
    monkeypatch.setenv("LTRUN_OUTPUTS", " ")  # training says the same about it
    with pytest.raises(ConfigError, match="LTRUN_OUTPUTS names no folder"):
        places([])
    monkeypatch.delenv("LTRUN_OUTPUTS")
    monkeypatch.chdir(tmp_path)
    assert places([]) == [Path("outputs")]


def test_collecting_while_a_sweep_writes(tmp_path: Path) -> None:
    runs = [record(method, seed) for method in ("erm", "ldam", "crt") for seed in range(20)]
    final = {(run.method, run.seed): run for run in runs}
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for run in runs:
                file = save(tmp_path, run)
                if run.seed % 3 == 0:
                    file.unlink()  # force=true restarts the run

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(60):
            found, problems = collect([tmp_path])
            assert all(final[run.method, run.seed] == run for run in found)
            assert set(kinds(problems)) <= {"unfinished"}
            if found:
                tables(found)
    finally:
        stop.set()
        writer.join()


def test_a_thousand_runs_in_five_seconds(tmp_path: Path) -> None:
    import time

    counts = [int(500 * 100 ** (-i / 99)) for i in range(100)]
    large = record(counts=counts, splits=("test", "val"), predictors={"plain": [], "tau": []})
    text = json.loads(large.save(tmp_path / "large").read_text())
    (tmp_path / "large" / "result.json").unlink()
    for i in range(1000):
        folder = tmp_path / f"{i // 10:08x}" / f"seed{i % 10}"
        folder.mkdir(parents=True)
        text |= {"seed": i % 10, "fingerprint": f"{i // 10:08x}"}
        (folder / "result.json").write_text(json.dumps(text))
    began = time.process_time()  # CPU time of this process, whatever other programs do
    found, problems = collect([tmp_path])
    (table,) = tables(found)
    assert time.process_time() - began < 5
    assert (len(found), problems, len(table.rows)) == (1000, [], 200)
