"""`ltrun rerun` of a stranger's record: no code runs except ltrun's and the plugins of this command line."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.altered import changed
from tests.support.commands import Run, refused

SAME = "all numbers equal the record's, to the last digit"


@pytest.mark.parametrize(
    "words",
    [
        ["--config-dir", "/theirs"],
        ["hydra.searchpath=[file:///theirs]"],
        ["plugins=[theirs]"],
        ["method=../../theirs"],
        ["outputs=${oc.env:HOME}"],
        ["method=nowhere"],
        ["=", "\x00"],
    ],
)
def test_no_word_of_a_recorded_command_is_followed(ltrun: Run, result: Path, words: list[str], tmp_path: Path) -> None:
    def hostile(content: dict[str, Any]) -> None:
        content["command"] = [*content["command"], *words]

    done = ltrun("rerun", str(changed(result, hostile)))
    assert done.returncode == 0, done.stderr
    assert SAME in done.stdout and "options are also read from" not in done.stdout
    assert list((tmp_path / "outputs").rglob("result.json"))


TARGETS = ["os.system", "subprocess.Popen", "builtins.eval", "torch.load", "ltrun.cli.os.system", "mine.Part"]
PLACES = ["dataset", "network", "optimizer"]


@pytest.mark.parametrize(
    ("target", "place"), [*((target, "margin.adjust") for target in TARGETS), *((TARGETS[0], place) for place in PLACES)]
)
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


def test_a_recorded_plugin_is_imported_only_if_the_command_line_names_it(
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
    assert "its parts come from the plugin theirs" in refused(ltrun("rerun", str(result)))
    assert not marker.exists()
    done = ltrun("rerun", str(result), "plugins=[theirs]")
    assert done.returncode == 0, done.stderr
    assert marker.exists() and SAME in done.stdout


def test_a_record_sets_neither_outputs_nor_force(ltrun: Run, result: Path, tmp_path: Path) -> None:
    def hostile(content: dict[str, Any]) -> None:
        content["config"] |= {"outputs": str(tmp_path / "outside"), "force": True}
        content["changes"] = {"margin\x1b[2J": "no\nne"}

    done = ltrun("rerun", str(changed(result, hostile)))
    assert done.returncode == 0 and "\x1b[2J" not in done.stdout and "no\nne" not in done.stdout
    assert not (tmp_path / "outside").exists() and list((tmp_path / "outputs").rglob("result.json"))
    assert "done before" in ltrun("rerun", str(result)).stdout


@pytest.mark.parametrize("key", ["dataset", "method"])
@pytest.mark.parametrize("name", ["../../outside", "/outside", ".hidden", "a/b"])
def test_no_recorded_name_leads_out_of_outputs(ltrun: Run, result: Path, tmp_path: Path, key: str, name: str) -> None:
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
