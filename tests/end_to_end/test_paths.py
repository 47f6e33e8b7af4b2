"""Paths: folders with awkward names, missing home folders, Hydra keys that would move paths."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.commands import SHORT, Run, refused

PHOTOS = ("dataset=image_folder", "dataset.image_size=8", "network=resnet8", "epochs=1", "runtime.threads=1")
AWKWARD = ["photos (1)", "Bäume, #2=x", "照片 [neu]", "it's $HOME!", "trail ", "2024", "1e3", "true", "${y}"]


def photographed(root: Path) -> Path:
    """Writes two class folders of four images each; returns `root`."""
    for index, name in enumerate(("ant", "bee")):
        (root / name).mkdir(parents=True)
        for number in range(4):
            Image.fromarray(np.full((8, 8, 3), 100 * index + number, np.uint8)).save(root / name / f"{number}.png")
    return root


def results(folder: Path) -> list[Path]:
    return sorted(folder.rglob("result.json"))


@pytest.mark.parametrize("name", AWKWARD)
def test_a_folder_with_an_awkward_name_is_found(name: str, ltrun: Run, tmp_path: Path) -> None:
    photographed(tmp_path / name)
    for done in (ltrun("data", *PHOTOS, f"dataset.root={name}"), ltrun("data", *PHOTOS, LTRUN_DATA=name)):
        assert done.returncode == 0, done.stderr
        assert "2 classes" in done.stdout


def test_a_folder_with_an_awkward_name_is_verified_and_rerun(ltrun: Run, tmp_path: Path) -> None:
    photographed(tmp_path / "photos (1)")
    done = ltrun("data", "--verify", *PHOTOS, "dataset.root=photos (1)")
    assert done.returncode == 0, done.stderr
    assert ltrun(*PHOTOS, "dataset.root=photos (1)").returncode == 0
    (result,) = results(tmp_path)
    done = ltrun("rerun", str(result), "outputs=noch einmal (2)")
    assert done.returncode == 0, done.stderr
    assert len(results(tmp_path / "noch einmal (2)")) == 1


@pytest.mark.parametrize("name", ["out (1)", "Größe=1, #2", "2024", "${y}"])
def test_results_are_written_to_a_folder_with_an_awkward_name(name: str, ltrun: Run, tmp_path: Path) -> None:
    if "${" in name:
        (tmp_path / name).mkdir()  # the name of an existing folder is no interpolation
    assert ltrun(*SHORT, "epochs=1", f"outputs={name}").returncode == 0
    assert ltrun(*SHORT, "epochs=1", "seed=1", LTRUN_OUTPUTS=name).returncode == 0
    assert len(results(tmp_path / name)) == 2
    shown = ltrun("show", str(results(tmp_path / name)[0].parent))
    assert shown.returncode == 0 and "seed 0: done" in shown.stdout


def test_a_sweep_over_folders_with_awkward_names(ltrun: Run, tmp_path: Path) -> None:
    """Also with a launcher. A name with a comma is one value of the sweep, because its folder exists."""
    for name in ("photos (1)", "a,b", "2024"):
        photographed(tmp_path / name)
    words = ("-m", *PHOTOS, "dataset.root=photos (1),a,b,2024", "outputs=out (1)", "runtime.pack=1")
    done = ltrun(*words)
    assert done.returncode == 0, done.stderr
    assert "dataset.root: 'a,b' exists, so it is one value of the sweep" in done.stdout
    roots = {Path(json.loads(file.read_text())["config"]["dataset"]["root"]).name for file in results(tmp_path / "out (1)")}
    assert roots == {"photos (1)", "a,b", "2024"}
    done = ltrun(*words, "seed=1", "hydra/launcher=basic")
    assert done.returncode == 0, done.stderr
    assert len(results(tmp_path / "out (1)")) == 6


def test_user_options_with_awkward_names_are_found(ltrun: Run, tmp_path: Path) -> None:
    own = tmp_path / "meine Optionen (1), #2=x"
    (own / "margin").mkdir(parents=True)
    for number, name in enumerate(("Größe (neu)", "2024", "a,b"), 1):
        text = f"# Mine.\nadjust:\n  _target_: ltrun.margin.LDAM\n  max_margin: 0.{number}\n"
        (own / "margin" / f"{name}.yaml").write_text(text)
    for flag in (["--config-dir", str(own)], [f"--config-dir={own.name}"]):
        for name in ("Größe (neu)", "2024", "a,b"):
            done = ltrun(*flag, *SHORT, "epochs=1", f"margin={name}", "classifier=cosine")
            assert done.returncode == 0, done.stderr
    assert {json.loads(file.read_text())["choices"]["margin"] for file in results(tmp_path)} == {"Größe (neu)", "2024", "a,b"}
    assert "Mine." in ltrun("show", "--config-dir", str(own), "Größe (neu)").stdout
    done = ltrun(
        "-m", "--config-dir", str(own), *SHORT, "epochs=1", "seed=1", "margin=a,b,2024", "classifier=cosine", "runtime.pack=1"
    )
    assert done.returncode == 0 and len(results(tmp_path)) == 5


def test_the_command_printed_by_an_export_reads_the_export(ltrun: Run, tmp_path: Path, cifar100_root: Path) -> None:
    done = ltrun("data", "export", "dataset=cifar100_lt", f"dataset.root={cifar100_root}", "to=meine Daten (1)")
    assert done.returncode == 0, done.stderr
    said = done.stdout.partition("read them with: ")[2].strip()
    assert (tmp_path / "meine Daten (1)").is_dir()
    assert ltrun("data", *shlex.split(said)).returncode == 0


@pytest.mark.parametrize(
    ("words", "environment", "key"),
    [
        ([*SHORT, "outputs=~nosuch/x"], {}, "outputs: ~nosuch/x"),
        ([*SHORT], {"LTRUN_OUTPUTS": "~nosuch/x"}, "outputs: ~nosuch/x"),
        (["dataset=image_folder", "dataset.root=~nosuch/x"], {}, "dataset.root: ~nosuch/x"),
        (["dataset=image_folder"], {"LTRUN_DATA": "~nosuch/x"}, "dataset.root: ~nosuch/x"),
        (["dataset=cifar100_lt"], {"LTRUN_DATA": "~nosuch/x"}, "dataset.root: ~nosuch/x"),
        (["data", "dataset=cifar100_lt"], {"LTRUN_DATA": "~nosuch/x"}, "dataset.root: ~nosuch/x"),
        (["--config-dir", "~nosuch/x", *SHORT], {}, "--config-dir: ~nosuch/x"),
        ([*SHORT], {"LTRUN_SEARCHPATH": "~nosuch/x"}, "LTRUN_SEARCHPATH: ~nosuch/x"),
    ],
)
def test_a_user_without_a_home_is_named(words: list[str], environment: dict[str, str], key: str, ltrun: Run) -> None:
    sentence = refused(ltrun(*words, **environment))
    assert key in sentence and "no user 'nosuch' with a home; give the full path" in sentence


def test_a_cache_in_a_missing_home_is_refused(ltrun: Run, tmp_path: Path) -> None:
    photographed(tmp_path / "photos")
    words = (*PHOTOS, "dataset.root=photos")
    for command in ((), ("data",)):
        assert "LTRUN_CACHE: ~nosuch/c" in refused(ltrun(*command, *words, LTRUN_CACHE="~nosuch/c"))


def test_an_account_without_a_home_needs_full_paths(ltrun: Run) -> None:
    for words in ([*SHORT, "outputs=~/x"], ["dataset=image_folder", "dataset.root=~"]):
        assert "this account has no home; give the full path" in refused(ltrun(*words, HOME=""))
    assert ltrun(*SHORT, "epochs=1", HOME="").returncode == 0


@pytest.mark.parametrize("root", ["", " "])
def test_an_empty_dataset_root_is_refused(root: str, ltrun: Run) -> None:
    for words, environment in (([f"dataset.root={root}"], {}), ([], {"LTRUN_DATA": root or " "})):
        assert "dataset.root: names no folder" in refused(ltrun("dataset=image_folder", *words, **environment))


@pytest.mark.parametrize(
    "word",
    ["hydra.job.chdir=true", "++hydra.job.chdir=True", "hydra.run.dir=x", "hydra.output_subdir=.hydra", "hydra.mode=MULTIRUN"],
)
@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_hydra_keys_that_would_move_paths_are_refused(flags: list[str], word: str, ltrun: Run, tmp_path: Path) -> None:
    sentence = refused(ltrun(*flags, *SHORT, "seed=0", word))
    assert word.lstrip("+").partition("=")[0] in sentence and "leave it out" in sentence
    assert not list(tmp_path.iterdir())


def test_hydras_sweep_folder_may_be_moved(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun("-m", *SHORT, "epochs=1", "seed=0", "hydra/launcher=basic", "hydra.sweep.dir=jobs (1)")
    assert done.returncode == 0, done.stderr
    assert len(results(tmp_path / "outputs")) == 1


def test_interpolations_from_hydras_documentation_work(ltrun: Run, tmp_path: Path) -> None:
    words = {
        "outputs=${hydra:runtime.cwd}/a": "a",
        "outputs=b_${hydra:runtime.choices.method}": "b_erm",
        "outputs=${oc.env:PLACE}/c d": "c d",
        "outputs=e_${now:%Y}": "e_2*",
    }
    for word, place in words.items():
        done = ltrun(*SHORT, "epochs=1", word, PLACE=str(tmp_path))
        assert done.returncode == 0, done.stderr
        assert len(list(tmp_path.glob(f"{place}/**/result.json"))) == 1
    assert "2 classes" not in ltrun("data", "dataset=digits_lt", "outputs=${hydra:runtime.cwd}/a").stderr


@pytest.mark.parametrize(
    "word",
    [
        "seed=${hydra:job.num}",
        "outputs=x${hydra:job.num}",
        "outputs=${hydra:job.id}",
        "outputs=${nope:x}",
        "outputs=x${hydra:nope.x}",
        "outputs=${hydra:runtime.output_dir}",
    ],
)
def test_an_interpolation_without_a_value_is_refused(word: str, ltrun: Run, tmp_path: Path) -> None:
    for flags in ([], ["-m"]):
        done = ltrun(*flags, *SHORT, word)
        assert done.returncode == 1 and word.partition("=")[0] in done.stderr and "Traceback" not in done.stderr
        assert "hydra:" not in word or "has no value here" in done.stderr
    assert not results(tmp_path)
