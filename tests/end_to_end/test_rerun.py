"""`ltrun rerun`: the same numbers from the record alone; refusals of other overrides, records and images."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ltrun.results.record import RunRecord
from tests.support.altered import Change, as_format_2, changed
from tests.support.commands import SHORT, Run, refused

SAME = "all numbers equal the record's, to the last digit"


def test_a_rerun_equals_its_record(ltrun: Run, result: Path, tmp_path: Path) -> None:
    done = ltrun("rerun", str(result))
    assert done.returncode == 0, done.stderr
    assert SAME in done.stdout
    (file,) = (tmp_path / "outputs").rglob("result.json")
    old, new = RunRecord.load(result), RunRecord.load(file)
    assert new.predictors == old.predictors and new.fingerprint == old.fingerprint and new.changes == old.changes
    again = ltrun("rerun", str(result))
    assert again.returncode == 0 and "done before" in again.stdout and SAME in again.stdout
    assert "force" not in again.stderr


def test_a_rerun_is_the_run_of_the_original_command(ltrun: Run, result: Path, tmp_path: Path) -> None:
    assert ltrun("rerun", str(result)).returncode == 0
    done = ltrun("method=ldam_drw", *SHORT, "posthoc=ncm")
    assert done.returncode == 0 and "done before" in done.stdout


def test_a_record_is_never_replaced(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun("method=erm", *SHORT).returncode == 0
    (file,) = tmp_path.rglob("result.json")
    before = file.read_bytes()
    for words in ([], ["force=true"]):
        assert "train it elsewhere with outputs=DIR" in refused(ltrun("rerun", "outputs", *words))
    assert file.read_bytes() == before
    done = ltrun("rerun", "outputs", "outputs=again")
    assert done.returncode == 0 and SAME in done.stdout and file.read_bytes() == before


def test_another_seed_is_another_run_and_says_so(ltrun: Run, result: Path, tmp_path: Path) -> None:
    done = ltrun("rerun", str(result), "seed=1")
    assert done.returncode == 0 and "seed 1 is another run of the row of seed 0" in done.stdout
    (file,) = (tmp_path / "outputs").rglob("seed1/result.json")
    assert RunRecord.load(file).seed == 1 and RunRecord.load(file).fingerprint == RunRecord.load(result).fingerprint


def test_differences_in_machine_and_numbers_are_printed(ltrun: Run, result: Path) -> None:
    def elsewhere(content: dict[str, Any]) -> None:
        content["provenance"]["versions"]["torch"] = "1.0.0\x1b[31m"
        content["provenance"]["threads"] = 64
        content["predictors"]["plain"]["splits"]["test"].update(accuracy=0.25, error=0.75)

    done = ltrun("rerun", str(changed(result, elsewhere)))
    assert done.returncode == 0
    assert "torch 1.0.0?[31m there, " in done.stdout and "threads 64 there, 1 here" in done.stdout
    assert "plain on test: Top-1 accuracy " in done.stdout and "in the record 25.00%" in done.stdout
    assert "\x1b[31m" not in done.stdout and SAME not in done.stdout


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("epochs=9", "this makes another run"),
        ("margin=none", "this makes another run"),
        ("method=erm", "this makes another run"),
        ("runtime.precision=bf16", "this makes another run"),
        ("dataset.imbalance=50", "this makes another run"),
        ("dataset.name=other", "this makes another run"),
        ("runtime.treads=2", "did you mean 'runtime.threads'?"),
        ("+runtime.threads=2", "a rerun trains the configuration of its record"),
        ("~runtime", "a rerun trains the configuration of its record"),
        ("seed=0,1", "several values"),
        ("runtime.threads=many", "runtime.threads"),
        ("runtime.device=abacus", "runtime.device"),
        ("outputs=", "outputs"),
    ],
)
def test_overrides_that_a_rerun_cannot_take_are_refused(ltrun: Run, result: Path, tmp_path: Path, word: str, said: str) -> None:
    assert said in refused(ltrun("rerun", str(result), word))
    assert not (tmp_path / "outputs").exists()


def test_a_configuration_that_this_version_does_not_know_is_named(ltrun: Run, result: Path) -> None:
    def later(content: dict[str, Any]) -> None:
        content["config"]["margin"]["adjust"]["temperature"] = 2

    sentence = refused(ltrun("rerun", str(changed(result, later))))
    assert str(result) in sentence and "margin.adjust.temperature" in sentence and "cannot train" in sentence


def test_a_rerun_trains_the_recorded_configuration_of_a_changed_preset(ltrun: Run, result: Path, tmp_path: Path) -> None:
    """The preset had another margin when the run was recorded."""

    def then(content: dict[str, Any]) -> None:
        content["config"]["margin"]["adjust"]["max_margin"] = 0.3

    done = ltrun("rerun", str(changed(result, then)))
    assert done.returncode == 0
    (file,) = (tmp_path / "outputs").rglob("result.json")
    assert RunRecord.load(file).config["margin"]["adjust"]["max_margin"] == 0.3


def test_machine_settings_missing_from_an_older_record_are_taken_from_here(ltrun: Run, result: Path) -> None:
    def older(content: dict[str, Any]) -> None:
        for key in ("tensorboard", "pack", "checkpoint_seconds"):
            del content["config"]["runtime"][key]
        del content["config"]["plugins"]

    done = ltrun("rerun", str(changed(result, older)))
    assert done.returncode == 0 and SAME in done.stdout


@pytest.mark.parametrize(
    ("change", "said", "refile"),
    [
        (lambda content: content["config"].update(epochs=4), "filed under", False),
        (lambda content: content.update(config={}), "filed under", False),
        (lambda content: content.update(seed=7), "its seed is 7", True),
        (lambda content: content.update(dataset="other"), "its data set is 'other'", True),
        (lambda content: content.update(selection="best_val"), "its selection is 'best_val'", True),
        (lambda content: content.update(config={}), "its data set is 'digits_lt', but None", True),
        (lambda content: content["config"].update(runtime=[]), "its runtime is not a mapping", True),
        (lambda content: content["config"].update(dataset=None), "its data set is 'digits_lt', but None", True),
        (lambda content: content["config"].pop("plan"), "plan: this key is missing; add it", True),
        (lambda content: content["config"].update(posthoc={}), "its predictor 'ncm'", True),
        (lambda content: content.update(format=99), "update ltrun", True),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(ltrun: Run, result: Path, change: Change, said: str, refile: bool) -> None:
    def as_ncm(content: dict[str, Any]) -> None:
        content["headline"] = "ncm"
        change(content)

    sentence = refused(ltrun("rerun", str(changed(result, as_ncm, refile))))
    assert str(result) in sentence and said in sentence


# ------------------------------------------------------------------------------------------------------------------ data


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name, count in {"ant": 12, "bee": 9}.items():
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for k in range(count):
            Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8)).save(folder / f"{k:03}.png")
    return tmp_path / "photos"


@pytest.fixture
def of_photos(ltrun: Run, photos: Path, tmp_path: Path) -> Path:
    """The record of a run on photos in class folders."""
    words = ("dataset=image_folder", f"dataset.root={photos}", "dataset.image_size=16", "epochs=1", "batch_size=8")
    assert ltrun("method=erm", *words, "outputs=there").returncode == 0
    (found,) = (tmp_path / "there").rglob("result.json")
    return found


def test_moved_images_are_found_with_dataset_root(ltrun: Run, of_photos: Path, photos: Path, tmp_path: Path) -> None:
    shutil.move(photos, tmp_path / "moved")
    sentence = refused(ltrun("rerun", str(of_photos)))
    assert f"its images were in {photos}" in sentence and "dataset.root=FOLDER" in sentence
    done = ltrun("rerun", str(of_photos), "dataset.root=moved")
    assert done.returncode == 0, done.stderr
    assert SAME in done.stdout
    (file,) = (tmp_path / "outputs").rglob("result.json")
    assert RunRecord.load(file).config["dataset"]["root"] == str(tmp_path / "moved")


def blacken(file: Path) -> None:
    Image.new("RGB", (24, 20)).save(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda photos: (photos / "ant" / "000.png").unlink(), "class 'ant'"),
        (lambda photos: shutil.copytree(photos / "ant", photos / "cat"), "1 of them are new and 0 are missing"),
        (lambda photos: (photos / "bee").rename(photos / "wasp"), "1 of them are new and 1 are missing"),
        (lambda photos: blacken(photos / "bee" / "003.png"), "is changed (bee/003.png)"),
    ],
)
def test_changed_photos_are_refused(
    ltrun: Run, of_photos: Path, photos: Path, change: Callable[[Path], Any], said: str
) -> None:
    change(photos)
    assert said in refused(ltrun("rerun", str(of_photos)))


def test_a_record_without_a_digest_says_that_images_may_differ(ltrun: Run, result: Path) -> None:
    done = ltrun("rerun", str(changed(result, as_format_2)))
    assert done.returncode == 0 and SAME in done.stdout
    assert "no digest of its data" in done.stdout


# --------------------------------------------------------------------------------------------------------------- command


def test_the_printed_command_trains_the_same_run(ltrun: Run, result: Path, tmp_path: Path) -> None:
    done = ltrun("rerun", str(result), "--print", "outputs=my results (1)")
    assert done.returncode == 0 and not (tmp_path / "my results (1)").exists()
    program, *words = shlex.split(done.stdout)
    assert program == "ltrun" and "method=ldam_drw" in words
    trained = ltrun(*words)
    assert trained.returncode == 0, trained.stderr
    (file,) = (tmp_path / "my results (1)").rglob("result.json")
    assert RunRecord.load(file).predictors == RunRecord.load(result).predictors


def test_results_are_written_to_a_folder_of_any_name(ltrun: Run, result: Path, tmp_path: Path) -> None:
    done = ltrun("rerun", str(result), "outputs=my results (1)")
    assert done.returncode == 0, done.stderr
    (file,) = (tmp_path / "my results (1)").rglob("result.json")
    words = RunRecord.load(file).command
    assert [word for word in words if "outputs" in word] == [words[-1]] and "my results (1)" in words[-1]


def test_print_refuses_a_record_without_a_command(ltrun: Run, result: Path) -> None:
    assert "has no command, because an earlier version" in refused(ltrun("rerun", str(changed(result, as_format_2)), "--print"))


def test_printing_a_command_warns_of_folders_and_code_of_another_machine(ltrun: Run, result: Path) -> None:
    def foreign(content: dict[str, Any]) -> None:
        content["command"] = ["--config-dir", "/theirs", *content["command"], "plugins=[theirs]\x1b[2J"]

    done = ltrun("rerun", str(changed(result, foreign)), "--print")
    assert done.returncode == 0 and "names folders or code" in done.stderr and "\x1b" not in done.stdout


def test_options_changed_since_the_record_are_named(ltrun: Run, result: Path) -> None:
    def then(content: dict[str, Any]) -> None:
        content["config"]["margin"]["adjust"]["max_margin"] = 0.3

    done = ltrun("rerun", str(changed(result, then)))
    assert (
        done.returncode == 0 and "its command would train another run here, because of margin.adjust.max_margin" in done.stdout
    )
