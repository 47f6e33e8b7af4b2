"""Security: code named in option files, pickles in checkpoints and Hydra's own instantiation never run."""

import io
import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import SHORT, Run, refused

PAYLOADS = [
    "os.system",
    "subprocess.Popen",
    "builtins.eval",
    "torch.load",
    "torch.hub.load",
    "pandas.read_pickle",
    "joblib.load",
    "numpy.load",
    "ltrun.cli.os.system",
    "ltrun.engine.run.torch.load",
    "ltrun.cli.main",
    "ltrun.engine.evidence.torch",
    "hydra.utils.instantiate",
    "ltrun.",
    "..os.system",
]
FORBIDDEN = {"eval", "exec", "os.system", "yaml.load", "pickle.load", "pickle.loads", "joblib.load"}


class Marker:
    """An object whose unpickling would create a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("target", PAYLOADS)
@pytest.mark.parametrize("place", ["margin/bad.yaml:adjust", "dataset/bad.yaml:dataset", "posthoc/bad.yaml:predictors"])
def test_a_target_outside_ltrun_never_runs(target: str, place: str, tmp_path: Path) -> None:
    from ltrun import parts
    from ltrun.config.bind import bind
    from ltrun.errors import ConfigError

    marker = tmp_path / "ran"
    with pytest.raises(ConfigError, match="_target_"):
        bind({"_target_": target, "args": f"touch {marker}"}, place, parts.Part if "adjust" in place else None)
    assert not marker.exists()


def test_a_payload_in_an_option_file_is_refused_by_the_command(ltrun: Run, tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "margin"
    folder.mkdir(parents=True)
    marker = tmp_path / "ran"
    (folder / "bad.yaml").write_text(f"adjust:\n  _target_: os.system\n  command: touch {marker}\n")
    sentence = refused(ltrun("--config-dir", str(tmp_path / "conf"), *SHORT, "margin=bad"))
    assert "margin.adjust._target_" in sentence
    assert "plugins=" in sentence
    assert not marker.exists()


def test_an_option_file_cannot_name_plugins(ltrun: Run, tmp_path: Path) -> None:
    folder = tmp_path / "conf"
    (folder / "experiment").mkdir(parents=True)
    (folder / "experiment" / "bad.yaml").write_text(
        "# @package _global_\nplugins: [subprocess]\nmargin:\n  adjust:\n    _target_: subprocess.Popen\n"
    )
    assert "command line only" in refused(ltrun("--config-dir", str(folder), *SHORT, "experiment=bad"))


@pytest.mark.parametrize("place", ["callbacks", "launcher", "sweeper"])
def test_an_option_file_cannot_make_hydra_instantiate(place: str, ltrun: Run, tmp_path: Path) -> None:
    folder, marker = tmp_path / "conf", tmp_path / "ran"
    (folder / "experiment").mkdir(parents=True)
    node = {"_target_": "subprocess.Popen", "args": ["touch", str(marker)]}
    content = {"hydra": {place: {"bad": node} if place == "callbacks" else node}}
    (folder / "experiment" / "bad.yaml").write_text("# @package _global_\n" + json.dumps(content))
    for flags in ([], ["-m"]):
        done = ltrun(*flags, "--config-dir", str(folder), *SHORT, "experiment=bad")
        assert not marker.exists()
        assert "Traceback" not in done.stdout + done.stderr
        if place == "callbacks" or flags:
            assert done.returncode == 1


def test_a_plugin_named_on_the_command_line_is_allowed(ltrun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib" / "mypackage").mkdir(parents=True)
    (tmp_path / "lib" / "mypackage" / "__init__.py").write_text(
        "from ltrun.parts import Adjust\n\n\nclass Mine(Adjust):\n    def forward(self, logits, labels, outputs):\n"
        "        return logits * 2\n"
    )
    folder = tmp_path / "conf" / "margin"
    folder.mkdir(parents=True)
    (folder / "mine.yaml").write_text("adjust:\n  _target_: mypackage.Mine\n")
    own = ("--config-dir", str(tmp_path / "conf"), *SHORT, "margin=mine")
    monkeypatch.syspath_prepend(tmp_path / "lib")
    assert "plugins=" in refused(ltrun(*own))
    done = ltrun(*own, "plugins=[mypackage]")
    assert done.returncode == 0, done.stderr


def test_a_user_option_cannot_take_the_name_of_an_ltrun_option(ltrun: Run, tmp_path: Path) -> None:
    """Hydra would silently use ltrun's option."""
    folder = tmp_path / "conf" / "margin"
    folder.mkdir(parents=True)
    (folder / "ldam.yaml").write_text("adjust:\n  _target_: ltrun.margin.LDAM\n  max_margin: 0.9\n")
    sentence = refused(ltrun("--config-dir", str(tmp_path / "conf"), *SHORT, "method=ldam"))
    assert str(folder / "ldam.yaml") in sentence and "rename it" in sentence


PART = """
import torch
from ltrun.parts import PostHoc

class Mine(PostHoc):
    {sees}
    def forward(self, outputs):
        return {scores}
"""


@pytest.mark.parametrize(
    ("sees", "scores", "said"),
    [
        ("", "outputs.logits[:, :3]", "Mine returns a tensor of shape (16, 3), where (16, 10) is needed"),
        ("", "outputs.features[:, :10]", "Mine reads 'features', which its `reads` does not name"),
        (
            "sees = frozenset({'test'})",
            "outputs.logits",
            "posthoc=mine: sees 'test'; a post-hoc part sees test_inputs, train, val",
        ),
    ],
)
def test_a_faulty_post_hoc_part_is_named(
    sees: str, scores: str, said: str, ltrun: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / f"posthoc_{abs(hash(scores + sees))}.py").write_text(PART.format(sees=sees, scores=scores))
    monkeypatch.syspath_prepend(tmp_path / "lib")
    (package,) = (file.stem for file in (tmp_path / "lib").glob("*.py"))
    (tmp_path / "conf" / "posthoc").mkdir(parents=True)
    option = f"predictors:\n  mine:\n    _target_: {package}.Mine\n"
    (tmp_path / "conf" / "posthoc" / "mine.yaml").write_text(option)
    own = ("--config-dir", str(tmp_path / "conf"), f"plugins=[{package}]", "posthoc=mine")
    assert said in refused(ltrun(*own, *SHORT))


def test_a_pickle_in_a_checkpoint_never_runs(ltrun: Run, tmp_path: Path) -> None:
    import hashlib

    assert ltrun("method=erm", *SHORT).returncode == 0
    (result,) = tmp_path.rglob("result.json")
    (checkpoint,) = result.parent.glob("*.pt")
    marker = tmp_path / "ran"
    buffer = io.BytesIO()
    with zipfile.ZipFile(checkpoint) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, pickle.dumps(Marker(marker)) if name.endswith("data.pkl") else old.read(name))
    for payload in (buffer.getvalue(), pickle.dumps(Marker(marker))):
        checkpoint.write_bytes(payload)
        manifest = {"checkpoints": [{"file": checkpoint.name, "sha256": hashlib.sha256(payload).hexdigest()}]}
        (result.parent / "checkpoints.json").write_text(json.dumps(manifest))
        result.unlink(missing_ok=True)
        assert checkpoint.name in refused(ltrun("method=erm", *SHORT))
        assert not marker.exists()


def test_a_manifest_cannot_point_outside_the_run(ltrun: Run, tmp_path: Path) -> None:
    from ltrun.engine.checkpoint import Checkpoints
    from ltrun.errors import TrainingError

    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints.json").write_text(json.dumps({"checkpoints": [{"file": "../../x.pt", "sha256": "0"}]}))
    with pytest.raises(TrainingError, match=r"checkpoints\.json is damaged"):
        Checkpoints(tmp_path / "run")


def test_no_code_is_evaluated_anywhere_in_ltrun() -> None:
    import ast

    import ltrun

    for path in Path(ltrun.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                assert name not in FORBIDDEN, path
                keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
                assert keywords.get("shell") != "True", path
                if name == "torch.load":
                    assert keywords.get("weights_only") == "True", path
                if name in ("np.load", "numpy.load"):
                    assert keywords.get("allow_pickle") != "True", path
