"""Mistakes of a user: each ends in one clear sentence and exit code 1, and loses nothing."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.support.commands import SHORT, Run, refused


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["method=ldma"], ["method", "'ldma'", "did you mean 'ldam'"]),
        (["margin=lda"], ["margin", "'lda'", "did you mean 'ldam'"]),
        (["dataset=cifar100lt"], ["did you mean 'cifar100_lt'"]),
        (["methd=ldam"], ["'methd'", "did you mean 'method'"]),
        (["optimizer.lrr=1"], ["'optimizer.lrr'", "did you mean 'optimizer.lr'"]),
        (["lr=1"], ["'lr'", "did you mean 'optimizer.lr'"]),
        (["~method"], ["method: a run needs a method", "method=erm"]),
        (["+margin.predictors.x._target_=ltrun.posthoc.TauNorm"], ["margin.predictors", "has no 'predictors'"]),
        (["-m", "hydra/launcher=basic", "hydra.launcher.foo=0"], ["hydra.launcher.foo"]),
        (["dataset.mean=[0.1]"], ["'dataset.mean'", "did you mean 'dataset.prepare.mean'"]),
        (["optimizer._target_=ltrun.optimizers.SGD"], ["'ltrun.optimizers.SGD'", "did you mean 'ltrun.optimizer'"]),
        (
            ["method=ldam", "margin.adjust.max_margn=1"],
            ["'margin.adjust.max_margn'", "did you mean 'margin.adjust.max_margin'"],
        ),
        (["augmentation=[cmo,mixup]", "augmentation.mixers.mixup.alpa=1"], ["did you mean 'augmentation.mixers.mixup.alpha'"]),
        (["-m", "method=erm,ldam", "margin.adjust.max_margin=1"], ["'margin.adjust.max_margin' with method=erm"]),
        (["-m", "augmentation=[cmo,mixpu],[mixup]"], ["augmentation: there is no option 'mixpu'; did you mean 'mixup'"]),
        (["margin="], ["margin: there is no option without a name"]),
        (["experiment=mine"], ["experiment: there is no option 'mine'"]),
        (["+optimizer.lrr=1"], ["optimizer.lrr", "SGD takes no 'lrr'", "did you mean 'lr'"]),
        (["+epoch=3"], ["epoch", "did you mean 'epochs'"]),
        (
            ["margin=ldam", "+margin.adjust.max_margn=1"],
            ["margin.adjust.max_margn", "LDAM takes no", "did you mean 'max_margin'"],
        ),
        (["optimizer.lr=fast"], ["optimizer.lr: expected a finite number, got 'fast'"]),
        (["optimizer.lr=-1"], ["optimizer.lr must be above 0"]),
        (["epochs=0"], ["epochs: expected a whole number of at least 1, got 0"]),
        (["epochs=1.5"], ["epochs: expected a whole number"]),
        (["seed=x"], ["seed: expected a whole number"]),
        (["batch_size=0"], ["batch_size: expected a whole number of at least 1"]),
        (["evaluation.every=0"], ["evaluation.every: expected a whole number of at least 1"]),
        (["evaluation.batch_size=0"], ["evaluation.batch_size: expected a whole number of at least 1"]),
        (["runtime.checkpoint_seconds=-0.5"], ["runtime.checkpoint_seconds: expected a number of at least 0, got -0.5"]),
        (["runtime.checkpoint_seconds=nan"], ["runtime.checkpoint_seconds: expected a finite number"]),
        (["runtime.device=tpu"], ["runtime.device", "'tpu'", "auto, cpu or cuda"]),
        (["dataset.imbalance=0.01"], ["imbalance", "100"]),
        (["selection=best_val"], ["selection=best_val", "dataset.validation_per_class"]),
        (["selection=oracle"], ["selection", "last", "best_val"]),
        (["seed=["], ["cannot read 'seed=['"]),
        (["representation=paco", "margin=ldam"], ["margin=ldam", "representation=paco", "margin=none"]),
        (["representation=paco", "augmentation=mixup"], ["augmentation=mixup", "representation=paco"]),
        (["representation=paco", "ensemble=sade"], ["representation=paco", "ensemble=sade"]),
        (["ensemble=ride", "posthoc=tau_norm"], ["posthoc=tau_norm", "ensemble=ride", "head"]),
        (["posthoc=sade_aggregation"], ["posthoc=sade_aggregation", "ensemble=none", "experts"]),
        (["method=[ldam,crt]"], ["method: takes one option", "combine slots"]),
        (["plan=[main]"], ["plan", "'main'", "train"]),
        (["+stages.train.trainable=[nothing*]"], ["stages.train.trainable", "nothing*"]),
        (["-m", "method=glob(zz*)"], ["'method=glob(zz*)' gives no value"]),
        (["method=null"], ["method: there is no option 'null'"]),
        (["batch_size=99999999999999999999"], ["batch_size: expected a number of at most 2,147,483,647"]),
        (["runtime.threads=100000"], ["runtime.threads: expected a number of at most 1,024"]),
        (["runtime.device=meta"], ["runtime.device: 'meta'", "auto, cpu or cuda"]),
        (["outputs="], ["outputs: names no folder", "outputs=DIR"]),
        (["optimizer.lr=nan"], ["optimizer.lr must be a finite number"]),
        (["margin=ldam"], ["margin=ldam reads cosines", "choose classifier 'cosine'"]),
        (["-m", "hydra/launcher=joblip"], ["hydra/launcher: Hydra has no 'joblip'", "pip install"]),
        (["--config-dir"], ["--config-dir: names no folder"]),
    ],
)
def test_a_wrong_argument_is_refused_in_one_sentence(arguments: list[str], said: list[str], ltrun: Run, tmp_path: Path) -> None:
    sentence = refused(ltrun(*SHORT, *arguments))
    for words in said:
        assert words in sentence
    assert not list(tmp_path.rglob("*.pt"))


def test_wrong_optimizer_values_are_refused_before_data_is_opened(ltrun: Run) -> None:
    assert "lr must be above 0" in refused(ltrun("dataset=cifar100_lt", "dataset.download=false", "optimizer.lr=-1"))


def test_a_root_that_is_a_file_is_named(ltrun: Run, tmp_path: Path) -> None:
    (tmp_path / "afile").touch()
    for dataset in ("cifar100_lt", "image_folder"):
        sentence = refused(ltrun(f"dataset={dataset}", "dataset.root=afile"))
        assert f"{tmp_path / 'afile'} is not a folder" in sentence and "dataset.root=FOLDER" in sentence


def test_ltrun_without_arguments_prints_its_help(ltrun: Run, tmp_path: Path) -> None:
    done = ltrun()
    assert done.returncode == 0 and "ltrun method=ldam dataset=cifar100_lt" in done.stdout
    assert not list(tmp_path.iterdir())


def test_hydra_flags_work_at_any_position(ltrun: Run) -> None:
    found = [ltrun(*words) for words in (["--cfg", "job", "seed=7", "method=ldam"], ["seed=7", "--cfg", "job", "method=ldam"])]
    assert found[0].returncode == 0 and "seed: 7" in found[0].stdout
    assert found[0].stdout == found[1].stdout


def test_slot_combinations_are_refused_before_data_is_opened(ltrun: Run, tmp_path: Path) -> None:
    sentence = refused(ltrun("dataset=cifar100_lt", "dataset.download=false", "representation=paco", "margin=ldam"))
    assert "margin=ldam" in sentence
    assert "cifar" not in sentence.lower()


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("runtime.levers={a: 1}", "runtime.levers: expected a list, got a mapping of names to values: {a: 1}"),
        ("evaluation=[1]", "evaluation: expected a mapping of names to values, got a list: [1]"),
        ("runtime.levers=null", "runtime.levers: expected a list of texts, got null"),
        ("runtime.sync_bn=local", "runtime.sync_bn: expected true or false, got 'local'"),
    ],
)
def test_a_list_a_mapping_or_a_name_in_the_wrong_place_is_one_sentence(ltrun: Run, word: str, said: str) -> None:
    assert said in refused(ltrun(*SHORT, word))


def test_a_misspelt_key_in_a_file_is_found(ltrun: Run, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    (folder / "experiment").mkdir(parents=True)
    (folder / "margin").mkdir()
    (folder / "experiment" / "typo.yaml").write_text("# @package _global_\nruntime:\n  thread: 2\n")
    (folder / "margin" / "mine.yaml").write_text("adjust:\n  _target_: ltrun.margin.LDAM\n  max_margn: 0.3\n")
    (folder / "margin" / "role.yaml").write_text("adjst:\n  _target_: ltrun.margin.LDAM\n")
    own = ("--config-dir", str(folder), *SHORT)
    assert "runtime.thread" in (said := refused(ltrun(*own, "experiment=typo")))
    assert "did you mean 'runtime.threads'" in said
    (folder / "experiment" / "dots.yaml").write_text("# @package _global_\nstages.train.fraction: 0.5\n")
    said = refused(ltrun(*own, "experiment=dots"))
    assert "stages.train.fraction: a key in a file has no dots; write stages: {train: {fraction: 0.5}}" in said
    (folder / "experiment" / "mapped.yaml").write_text("# @package _global_\nruntime: {levers: {cudnn_search: true}}\n")
    said = refused(ltrun(*own, "experiment=mapped"))
    assert said.endswith(
        "In 'experiment/mapped': a key has a list instead of a mapping of names to values, or the other way round"
    )
    assert "margin.adjust.max_margn" in (said := refused(ltrun(*own, "margin=mine")))
    assert "did you mean 'max_margin'" in said
    assert "margin.adjst" in (said := refused(ltrun(*own, "margin=role")))
    assert "did you mean 'adjust'" in said


def test_user_option_folders_are_announced(ltrun: Run, tmp_path: Path) -> None:
    """LTRUN_SEARCHPATH lists folders as PATH does; their names may contain commas, spaces and percent signs."""
    margins, heads = tmp_path / "mine", tmp_path / "heads, 2 %20"
    (margins / "margin").mkdir(parents=True)
    (heads / "classifier").mkdir(parents=True)
    (margins / "margin" / "small.yaml").write_text("# Small.\nadjust:\n  _target_: ltrun.margin.LDAM\n  max_margin: 0.1\n")
    (heads / "classifier" / "round.yaml").write_text("# Round.\nhead:\n  _target_: ltrun.classifier.Cosine\n")
    both = f"{margins}:{heads}"
    for done in (
        ltrun("--config-dir", str(margins), *SHORT, "margin=small", "classifier=cosine"),
        ltrun(*SHORT, "hydra.searchpath=[mine]", "margin=small", "classifier=cosine", "seed=1"),
        ltrun(*SHORT, "margin=small", "classifier=round", LTRUN_SEARCHPATH=both),
        ltrun("data", "dataset=digits_lt", "margin=small", "classifier=round", LTRUN_SEARCHPATH=both),
    ):
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[0].endswith("mine")
    listed = ltrun("methods", "margin", "classifier", LTRUN_SEARCHPATH=both).stdout
    assert "Small." in listed and "Round." in listed
    assert "did you mean 'small'" in refused(ltrun(*SHORT, "margin=smal", LTRUN_SEARCHPATH=both))
    assert "margin=small" not in ltrun("method=erm", "--cfg", "job").stdout


@pytest.mark.parametrize("words", [["methods"], ["--help"], ["data", "dataset=digits_lt"], ["method=erm", "epochs=1"]])
def test_a_missing_folder_of_options_is_named(words: list[str], ltrun: Run, tmp_path: Path) -> None:
    done = ltrun(*words, LTRUN_SEARCHPATH=f"{tmp_path}:{tmp_path / 'gone'}")
    assert done.returncode == 1
    assert f"{tmp_path / 'gone'}, which is not a folder" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_unwritable_output_folder_is_refused(ltrun: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    assert "outputs" in refused(ltrun(*SHORT, f"outputs={tmp_path / 'file' / 'below'}"))


@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/b", "", ".", ".."])
def test_a_dataset_name_cannot_lead_out_of_outputs(name: str, ltrun: Run, tmp_path: Path) -> None:
    sentence = refused(ltrun(*SHORT, f"dataset.name='{name}'"))
    assert "name" in sentence
    assert not list(tmp_path.rglob("*.pt"))
    assert not (tmp_path.parent / "evil").exists()


def test_a_loss_that_is_not_finite_stops_the_run(ltrun: Run, tmp_path: Path) -> None:
    good = ltrun(*SHORT, "method=erm", "epochs=2")
    assert good.returncode == 0
    sentence = refused(ltrun(*SHORT, "method=erm", "optimizer.lr=1e30"))
    for words in ("not finite", "epoch", "step", "stage 'train'", "optimizer.lr"):
        assert words in sentence
    assert len(list(tmp_path.rglob("result.json"))) == 1


def test_two_processes_do_not_train_the_same_run(tmp_path: Path, ltrun: Run) -> None:
    import fcntl

    assert ltrun(*SHORT, "method=erm").returncode == 0
    (result,) = tmp_path.rglob("result.json")
    result.unlink()
    with (result.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another process is training" in refused(ltrun(*SHORT, "method=erm"))
    assert ltrun(*SHORT, "method=erm").returncode == 0


def test_a_report_names_unreadable_results_and_shows_the_others(ltrun: Run, tmp_path: Path) -> None:
    assert ltrun(*SHORT, "method=erm").returncode == 0
    (result,) = tmp_path.rglob("result.json")
    foreign = tmp_path / "outputs" / "other" / "result.json"
    foreign.parent.mkdir()
    foreign.write_text('{"accuracy": 0.99}')
    cut = tmp_path / "outputs" / "cut" / "result.json"
    cut.parent.mkdir()
    cut.write_text(result.read_text()[:500])
    done = ltrun("report", "outputs")
    assert done.returncode == 0
    assert "erm" in done.stdout
    assert "other/result.json" in done.stderr
    assert "cut/result.json" in done.stderr
    assert "99" not in done.stdout.split("Top-1")[0]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three class folders of learnable images: noise in one colour per class."""
    generator = np.random.default_rng(0)
    for index, (name, count) in enumerate({"ant": 30, "bee": 12, "cat": 6}.items()):
        folder = tmp_path / "photos" / name
        folder.mkdir(parents=True)
        for number in range(count):
            pixels = generator.integers(0, 120, (40, 48, 3), dtype=np.uint8)
            pixels[..., index] += 120
            Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "photos"


def test_a_run_on_own_photos_ends_in_a_table(ltrun: Run, photos: Path) -> None:
    choices = ("dataset=image_folder", f"dataset.root={photos}", "dataset.image_size=16", "epochs=2", "network=resnet8")
    shown = ltrun("data", *choices)
    assert shown.returncode == 0, shown.stderr
    for words in ("ant", "imbalance factor", "Gini", "many"):
        assert words in shown.stdout
    done = ltrun(*choices)
    assert done.returncode == 0, done.stderr
    assert "imbalance factor" in done.stdout
    assert "–" in done.stdout, "no class has more than 100 images, so the cell of that group is a dash"


def test_unreadable_photos_are_refused_or_skipped(ltrun: Run, photos: Path) -> None:
    choices = ("dataset=image_folder", f"dataset.root={photos}", "dataset.image_size=16", "epochs=1", "network=resnet8")
    (photos / "bee" / "empty.png").write_bytes(b"")
    assert "bee/empty.png" in refused(ltrun(*choices))
    done = ltrun(*choices, "dataset.skip_unreadable=true")
    assert done.returncode == 0, done.stderr
    assert "1 unreadable" in done.stdout or "skipped" in done.stdout


def test_a_missing_cifar_is_refused_with_the_searched_folder(ltrun: Run, tmp_path: Path) -> None:
    sentence = refused(ltrun("dataset=cifar100_lt", f"dataset.root={tmp_path}", "dataset.download=false"))
    for words in ("cifar-100-python", str(tmp_path), "dataset.root"):
        assert words in sentence


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_keeps_the_previous_checkpoint(ltrun: Run, tmp_path: Path) -> None:
    choices = ("method=erm", *SHORT, "epochs=6")
    assert ltrun(*choices).returncode == 0
    (checkpoint,) = tmp_path.rglob("*.pt")
    disk, room = tmp_path / "disk", 8 << 20
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this machine does not allow mounting a tmpfs")
    try:
        # leave room for two checkpoints, not for three
        (disk / "ballast").write_bytes(bytes(room - int(2.5 * checkpoint.stat().st_size)))
        sentence = refused(ltrun(*choices, f"outputs={disk}"))
        assert "full" in sentence
        (manifest,) = disk.rglob("checkpoints.json")
        kept = [manifest.parent / entry["file"] for entry in json.loads(manifest.read_text())["checkpoints"]]
        assert len(kept) == 2
        assert all(path.stat().st_size == checkpoint.stat().st_size for path in kept)
        (disk / "ballast").unlink()
        again = ltrun(*choices, f"outputs={disk}")
        assert again.returncode == 0, again.stderr
        assert "train 1/6" not in again.stdout, "training started from scratch"
        first, second = (json.loads(path.read_text()) for path in tmp_path.rglob("result.json"))
        assert first["predictors"] == second["predictors"]
    finally:
        subprocess.run(["umount", str(disk)], check=False)
