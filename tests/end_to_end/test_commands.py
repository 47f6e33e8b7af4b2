"""Command lines: unknown commands and flags, --help, exit codes, interruptions."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ltrun import cli
from ltrun.config import compose
from tests.support.commands import PROGRAM, SHORT, Run, environment, refused


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ldam"], "write method=ldam or margin=ldam; ltrun show ldam"),
        (["margin"], "write margin=NAME; ltrun methods margin lists the names"),
        (["method"], "write method=NAME"),
        (["train", "method=erm"], "did you mean 'ltrun method=ldam'?"),
        (["export"], "did you mean 'ltrun data export'?"),
        (["reprot"], "did you mean 'report'?"),
        (["nonsense"], "there is no command 'nonsense'; known: "),
        ([*SHORT, "method"], "'method' sets nothing: write method=NAME"),
        ([*SHORT, "=ldam"], "'=ldam' names no key"),
        ([*SHORT, "method=[1,2]"], "method: there is no option '1'; ltrun methods method lists them"),
        ([*SHORT, "posthoc=[1]"], "posthoc: there is no option '1'"),
        ([*SHORT, "method="], "method: there is no option without a name"),
        ([*SHORT, "network=null"], "network: there is no option 'null'"),
        ([*SHORT, "margin=2024"], "margin: there is no option '2024'"),
        ([*SHORT, "network=resnet51"], "network: there is no option 'resnet51'; known: frame_classifier, resnet10, resnet101"),
        ([*SHORT, "runtime.wandb=true"], "'runtime.wandb'; known: runtime.accumulate, runtime.channels_last, runtime"),
        ([*SHORT, "method=erm,ldam"], "names several options: only a sweep, ltrun -m ..., takes and trains them one by one"),
        (["dataset=digits_lt", "posthoc=ncm,tau_norm"], "to combine them, write 'posthoc=[ncm,tau_norm]'"),
        (["data", "dataset=digits_lt", "--cfg", "job"], "--cfg: this command has no such flag; leave it out"),
        (["data", "exprot", "dataset=cifar100_lt", "to=x"], "ltrun data has no 'exprot': write ltrun data export"),
        (["data", "--verfy"], "ltrun data has no '--verfy': did you mean 'ltrun data --verify dataset=NAME'?"),
        (["data", "--verfy", "dataset=digits_lt"], "did you mean 'ltrun data --verify dataset=NAME'?"),
        (["data", "verify", "dataset=digits_lt"], "did you mean 'ltrun data --verify dataset=NAME'?"),
        (["data", "dataset=digits_lt", "verify"], "did you mean 'ltrun data --verify dataset=NAME'?"),
        (["data", "--verify=true", "dataset=digits_lt"], "did you mean 'ltrun data --verify dataset=NAME'?"),
        (["data", "--verify", "export", "dataset=cifar100_lt"], "the cache, ltrun data --verify dataset=NAME"),
        (["data", "dataset=cifar100_lt", "export", "to=x"], "write ltrun data export dataset=NAME to=FOLDER"),
        (["data", "-m", "dataset=digits_lt"], "-m: this command has no such flag; leave it out"),
        ([*SHORT, "--nonsense"], "there is no flag '--nonsense'; ltrun --help and ltrun --hydra-help list them"),
        ([*SHORT, "--multrun"], "no flag '--multrun'; did you mean '--multirun'?"),
        ([*SHORT, "plugins=[nowhere]"], "plugins: there is no package 'nowhere'; install it, or add the folder"),
        ([*SHORT, "plugins=[nunpy]"], "plugins: there is no package 'nunpy'; did you mean 'numpy'?"),
        ([*SHORT, "+margin.note=x", "dataset.profile=3"], "dataset.profile: expected one of"),
    ],
)
def test_a_wrong_word_is_refused_with_the_right_one(words: list[str], said: str, ltrun: Run, tmp_path: Path) -> None:
    assert said in refused(ltrun(*words))
    assert not list(tmp_path.iterdir())


def test_help_beside_a_choice_describes_the_choice(ltrun: Run) -> None:
    for words in (["method=ldam", "--help"], ["-m", "method=erm,ldam", "-h"], ["--help", "margin=ldam"]):
        done = ltrun(*words)
        assert done.returncode == 0 and "margin.adjust.max_margin=0.5" in done.stdout
    for words in (["--help"], ["epochs=3", "--help"], ["help"]):
        assert ltrun(*words).stdout.startswith("ltrun 0.1.0: one command-line")
    assert ltrun("methods", "ldam").stdout == ltrun("show", "ldam").stdout


def test_hydras_info_flag_works_before_and_after_an_override(tmp_path: Path) -> None:
    """Runs in a new process, because --info sets up logging for the whole process."""
    for words in (["--info", "method=ldam"], ["method=ldam", "--info", "defaults"]):
        done = subprocess.run([*PROGRAM, *words], cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
        assert done.returncode == 0 and "margin/ldam" in done.stdout, done.stderr


def test_plugins_may_be_named_in_the_environment(ltrun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "heads_of_mine.py").write_text("from ltrun.classifier import Linear\n\n\nclass Mine(Linear):\n    pass\n")
    (tmp_path / "own" / "classifier").mkdir(parents=True)
    (tmp_path / "own" / "classifier" / "mine.yaml").write_text("# Mine.\nhead:\n  _target_: heads_of_mine.Mine\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ("--config-dir", "own", *SHORT, "epochs=1", "classifier=mine")
    assert "heads_of_mine.Mine' is not allowed" in refused(ltrun(*words))
    done = ltrun(*words, LTRUN_PLUGINS="heads_of_mine")
    assert done.returncode == 0, done.stderr
    assert ltrun("data", "dataset=digits_lt", LTRUN_PLUGINS="heads_of_mine").returncode == 0
    assert "LTRUN_PLUGINS: there is no package 'heads_of_min'" in refused(ltrun(*words, LTRUN_PLUGINS="heads_of_min"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interruption_has_the_exit_code_of_its_signal(number: signal.Signals, code: int, tmp_path: Path) -> None:
    words = [*SHORT, "epochs=5000", "outputs=out (1)"]
    process = subprocess.Popen(
        [*PROGRAM, *words], cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("checkpoints.json")) and time.monotonic() < deadline:
        time.sleep(0.1)
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert output.endswith(
        "ltrun dataset=digits_lt epochs=3 evaluation.every=2 runtime.checkpoint_seconds=0 epochs=5000 'outputs=out (1)'\n"
    )


def test_an_interruption_hidden_by_an_error_in_finally_exits_with_130(ltrun: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """omegaconf has such a block: it restores the flags of a node that does not exist yet."""

    def interrupted(*_: object, **__: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(5)
        finally:
            None._invalidate_flags_cache()  # type: ignore[attr-defined]

    monkeypatch.setattr(compose, "compose", interrupted)
    compose._composed.cache_clear()  # other tests have composed these options
    for flags in ([], ["-m"]):
        done = ltrun(*flags, *SHORT, "seed=0")
        assert done.returncode == 130 and "interrupted; nothing finished is lost" in done.stdout
        assert "Traceback" not in done.stderr and "_invalidate" not in done.stderr


def test_a_folder_named_ltrun_does_not_hide_the_package(tmp_path: Path) -> None:
    """The parent of a checkout has such a folder, and PYTHONPATH=. finds a user's own packages."""
    (tmp_path / "ltrun").mkdir()
    for program in ([PROGRAM[0], "-c", "from ltrun.cli import main; main()"], PROGRAM):
        done = subprocess.run(
            [*program, "--version"], cwd=tmp_path, env=environment(PYTHONPATH="."), capture_output=True, text=True, check=False
        )
        assert done.stdout == f"ltrun {cli.__version__}\n", done.stderr
