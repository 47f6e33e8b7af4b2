"""`ltrun rerun`: the same numbers from the record alone; refusals of what cannot be the same; nothing of a stranger's runs."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ltrun.results.address import fingerprint
from ltrun.results.record import RunRecord
from tests.support.commands import PROGRAM, SHORT, Run, environment, refused

SAME = "the numbers are those of the record, to the last digit"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The record of a run of digits."""
    folder = tmp_path_factory.mktemp("there")
    words = [*PROGRAM, "method=ldam_drw", *SHORT, "posthoc=ncm"]
    subprocess.run(words, cwd=folder, env=environment(), check=True, capture_output=True)
    (found,) = folder.rglob("result.json")
    return found.read_bytes()


@pytest.fixture
def result(recorded: bytes, tmp_path: Path) -> Path:
    """The record, as it comes from elsewhere."""
    (tmp_path / "theirs.json").write_bytes(recorded)
    return tmp_path / "theirs.json"


def changed(file: Path, change: Callable[[dict[str, Any]], object], refile: bool = True) -> Path:
    """The record after a change, filed under the fingerprint that its configuration then has."""
    content = json.loads(file.read_text())
    change(content)
    if refile:
        content["fingerprint"] = fingerprint(content["config"])
    file.write_text(json.dumps(content))
    return file


def test_the_same_run_has_the_same_numbers(ltrun: Run, result: Path, tmp_path: Path) -> None:
    done = ltrun("rerun", str(result))
    assert done.returncode == 0, done.stderr
    assert SAME in done.stdout
    (file,) = (tmp_path / "outputs").rglob("result.json")
    old, new = RunRecord.load(result), RunRecord.load(file)
    assert new.predictors == old.predictors and new.fingerprint == old.fingerprint and new.changes == old.changes
    again = ltrun("rerun", str(result))
    assert again.returncode == 0 and "done before" in again.stdout and SAME in again.stdout
    assert "force" not in again.stderr


def test_it_is_the_run_that_its_command_trains(ltrun: Run, result: Path, tmp_path: Path) -> None:
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


def test_what_differs_is_said(ltrun: Run, result: Path) -> None:
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
        ("+runtime.threads=2", "a rerun trains what its record says"),
        ("~runtime", "a rerun trains what its record says"),
        ("seed=0,1", "several values, which only a sweep takes"),
        ("runtime.threads=many", "runtime.threads"),
        ("runtime.device=abacus", "runtime.device"),
        ("outputs=", "outputs"),
    ],
)
def test_words_that_make_no_sense_are_refused(ltrun: Run, result: Path, tmp_path: Path, word: str, said: str) -> None:
    assert said in refused(ltrun("rerun", str(result), word))
    assert not (tmp_path / "outputs").exists()


def test_a_configuration_that_this_version_does_not_know_is_named(ltrun: Run, result: Path) -> None:
    def later(content: dict[str, Any]) -> None:
        content["config"]["margin"]["adjust"]["temperature"] = 2

    sentence = refused(ltrun("rerun", str(changed(result, later))))
    assert str(result) in sentence and "margin.adjust.temperature" in sentence and "does not train" in sentence


def test_a_record_of_another_preset_trains_what_it_says(ltrun: Run, result: Path, tmp_path: Path) -> None:
    """As if the preset had had another margin when it was recorded."""

    def then(content: dict[str, Any]) -> None:
        content["config"]["margin"]["adjust"]["max_margin"] = 0.3

    done = ltrun("rerun", str(changed(result, then)))
    assert done.returncode == 0
    (file,) = (tmp_path / "outputs").rglob("result.json")
    assert RunRecord.load(file).config["margin"]["adjust"]["max_margin"] == 0.3


def test_keys_of_machines_that_an_older_record_lacks_are_taken_from_here(ltrun: Run, result: Path) -> None:
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
        (lambda content: content["config"].update(runtime=[]), "its runtime is no mapping", True),
        (lambda content: content["config"].update(dataset=None), "its data set is 'digits_lt', but None", True),
        (lambda content: content["config"].pop("plan"), "plan: this key is needed, and missing", True),
        (lambda content: content["config"].update(posthoc={}), "its predictor 'ncm'", True),
        (lambda content: content.update(format=99), "update ltrun", True),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(
    ltrun: Run, result: Path, change: Callable[[dict[str, Any]], object], said: str, refile: bool
) -> None:
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
    """A run of photos in folders."""
    words = ("dataset=image_folder", f"dataset.root={photos}", "dataset.image_size=16", "epochs=1", "batch_size=8")
    assert ltrun("method=erm", *words, "outputs=there").returncode == 0
    (found,) = (tmp_path / "there").rglob("result.json")
    return found


def test_images_may_lie_elsewhere(ltrun: Run, of_photos: Path, photos: Path, tmp_path: Path) -> None:
    shutil.move(photos, tmp_path / "moved")
    sentence = refused(ltrun("rerun", str(of_photos)))
    assert f"its images lay in {photos}" in sentence and "dataset.root=FOLDER" in sentence
    done = ltrun("rerun", str(of_photos), "dataset.root=moved")
    assert done.returncode == 0, done.stderr
    assert SAME in done.stdout
    (file,) = (tmp_path / "outputs").rglob("result.json")
    assert RunRecord.load(file).config["dataset"]["root"] == str(tmp_path / "moved")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda photos: (photos / "ant" / "000.png").unlink(), "class 'ant'"),
        (lambda photos: shutil.copytree(photos / "ant", photos / "cat"), "1 of them are new and 0 are missing"),
        (lambda photos: (photos / "bee").rename(photos / "wasp"), "1 of them are new and 1 are missing"),
    ],
)
def test_other_images_are_refused(ltrun: Run, of_photos: Path, photos: Path, change: Callable[[Path], Any], said: str) -> None:
    change(photos)
    assert said in refused(ltrun("rerun", str(of_photos)))


# -------------------------------------------------------------------------------------------------------------- strangers


@pytest.mark.parametrize(
    "target", ["os.system", "subprocess.Popen", "builtins.eval", "torch.load", "ltrun.cli.os.system", "mine.Part"]
)
@pytest.mark.parametrize("place", ["margin.adjust", "dataset", "network", "optimizer"])
def test_a_target_outside_ltrun_never_runs(ltrun: Run, result: Path, tmp_path: Path, target: str, place: str) -> None:
    marker = tmp_path / "ran"

    def hostile(content: dict[str, Any]) -> None:
        node = content["config"]
        for step in place.split("."):
            node = node[step]
        node |= {"_target_": target, "args": ["touch", str(marker)], "command": f"touch {marker}"}

    sentence = refused(ltrun("rerun", str(changed(result, hostile))))
    assert f"{place}._target_: {target!r} " in sentence and str(result) in sentence
    assert not marker.exists() and not (tmp_path / "outputs").exists()


def test_a_package_is_only_imported_if_it_is_named_here(
    ltrun: Run, result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "theirs.py").write_text(
        f"from pathlib import Path\nfrom ltrun.margin import LDAM\nPath({str(marker)!r}).touch()\nclass Mine(LDAM):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path / "lib")

    def with_plugin(content: dict[str, Any]) -> None:
        content["config"]["plugins"] = ["theirs"]
        content["config"]["margin"]["adjust"]["_target_"] = "theirs.Mine"

    changed(result, with_plugin)
    assert "its parts are of the plugin theirs" in refused(ltrun("rerun", str(result)))
    assert not marker.exists()
    done = ltrun("rerun", str(result), "plugins=[theirs]")
    assert done.returncode == 0, done.stderr
    assert marker.exists() and SAME in done.stdout


def test_a_record_says_neither_where_results_go_nor_what_is_replaced(ltrun: Run, result: Path, tmp_path: Path) -> None:
    def hostile(content: dict[str, Any]) -> None:
        content["config"] |= {"outputs": str(tmp_path / "outside"), "force": True}
        content["changes"] = {"margin\x1b[2J": "no\nne"}

    done = ltrun("rerun", str(changed(result, hostile)))
    assert done.returncode == 0 and "\x1b[2J" not in done.stdout and "no\nne" not in done.stdout
    assert not (tmp_path / "outside").exists() and list((tmp_path / "outputs").rglob("result.json"))
    assert "done before" in ltrun("rerun", str(result)).stdout


@pytest.mark.parametrize("key", ["dataset", "method"])
@pytest.mark.parametrize("name", ["../../outside", "/outside", ".hidden", "a/b"])
def test_no_name_leads_out_of_the_folder_of_results(ltrun: Run, result: Path, tmp_path: Path, key: str, name: str) -> None:
    def hostile(content: dict[str, Any]) -> None:
        content[key] = name
        if key == "dataset":
            content["config"]["dataset"]["name"] = name

    assert "cannot name a folder" in refused(ltrun("rerun", str(changed(result, hostile))))
    assert not (tmp_path / "outputs").exists()


def test_nothing_is_downloaded_to_a_folder_that_a_record_names(ltrun: Run, result: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()

    def hostile(content: dict[str, Any]) -> None:
        content["config"]["dataset"] |= {"_target_": "ltrun.data.CIFARLT", "root": str(tmp_path / "theirs"), "download": True}
        content["config"]["dataset"] |= {"num_classes": 10, "inert": ["root", "download"]}
        content["config"]["dataset"].pop("test_per_class")

    sentence = refused(ltrun("rerun", str(changed(result, hostile))))
    assert "dataset.download=true" in sentence and not list((tmp_path / "theirs").iterdir())
