"""Checkpoints of a run: saved and loaded whole; a damaged file is named, and no intact checkpoint is lost."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ltrun.engine.checkpoint import MANIFEST, Checkpoints
from ltrun.errors import TrainingError
from ltrun.results.address import RESULT
from ltrun.results.folder import put_back, reset, set_aside
from tests.support.cases import CPU
from tests.support.checkpoints import DAMAGES, harm, load, never, saved, state

# ----------------------------------------------------------------------------------------------------------- saving, loading


def test_the_newest_checkpoint_is_loaded_and_the_previous_one_is_kept(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    saved(tmp_path, 1, 2, 3)
    assert load(tmp_path) == 3
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, "0-train-2.pt", "0-train-3.pt"}


def test_a_finished_run_keeps_only_its_last_checkpoint(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2, 3)
    checkpoints.keep_last_only()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-train-3.pt", MANIFEST]
    assert load(tmp_path) == 3
    checkpoints.keep_last_only()
    assert load(tmp_path) == 3


def test_a_save_removes_the_files_that_a_killed_process_left_behind(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1)
    for name in ("0-train-0.pt", ".0-train-2.pt.0a1b2c3d.tmp", f".{MANIFEST}.0a1b2c3d.tmp"):
        (tmp_path / name).write_bytes(b"left behind")
    (tmp_path / "result.json").write_text("{}")
    checkpoints.save("0-train-2", state(2))
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, "0-train-1.pt", "0-train-2.pt", "result.json"}


def test_contents_are_plain_and_load_with_weights_only(tmp_path: Path) -> None:
    saved(tmp_path, 7)
    found = torch.load(tmp_path / "0-train-7.pt", weights_only=True)
    assert found["epoch"] == 7 and torch.equal(found["module"]["weight"], state(7)["module"]["weight"])
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest["checkpoints"][0]["sha256"] == hashlib.sha256((tmp_path / "0-train-7.pt").read_bytes()).hexdigest()


def test_a_run_with_resume_false_loads_no_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    anew = Checkpoints(tmp_path, resume=False)
    assert anew.load(CPU, never) is None
    anew.save("0-train-1", state(1))
    assert load(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, "0-train-1.pt"}


# ----------------------------------------------------------------------------------------------------------------- damage


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_previous_one_is_loaded(damage: Any, tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    harm(tmp_path / "0-train-2.pt", damage)
    warnings: list[str] = []
    assert load(tmp_path, warnings.append) == 1
    (sentence,) = warnings
    assert "0-train-2.pt is damaged" in sentence
    again = Checkpoints(tmp_path)  # the run resumes, and saves the same epoch again
    again.load(CPU, warnings.append)
    again.save("0-train-2", state(2))
    again.save("0-train-3", state(3))
    assert load(tmp_path) == 3 and len(list(tmp_path.glob("*.pt"))) == 2


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_two_damaged_checkpoints_are_refused_in_one_sentence(damage: Any, tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    for path in tmp_path.glob("*.pt"):
        harm(path, damage)
    with pytest.raises(TrainingError, match="force=true trains this run from scratch") as caught:
        load(tmp_path, lambda sentence: None)
    assert str(tmp_path) in str(caught.value)


def test_a_damaged_previous_checkpoint_is_ignored_while_the_newest_is_intact(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    harm(tmp_path / "0-train-1.pt", lambda data: b"")
    assert load(tmp_path) == 2


@pytest.mark.parametrize(
    "data", [b"", b"text", pickle.dumps({"epoch": 1}), pickle.dumps(os.system), b"PK\5\6" + bytes(18)], ids=len
)
def test_a_foreign_file_with_the_right_digest_is_refused_in_one_sentence(data: bytes, tmp_path: Path) -> None:
    saved(tmp_path, 1)
    (tmp_path / "0-train-1.pt").write_bytes(data)
    entry = {"file": "0-train-1.pt", "sha256": hashlib.sha256(data).hexdigest()}
    (tmp_path / MANIFEST).write_text(json.dumps({"checkpoints": [entry]}))
    with pytest.raises(TrainingError, match=r"0-train-1\.pt"):
        load(tmp_path, lambda sentence: None)


def test_a_truncated_zip_with_the_right_digest_is_refused_in_one_sentence(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save(state(1), buffer)
    whole = buffer.getvalue()
    for size in range(0, len(whole), len(whole) // 23):
        data = whole[:size]
        (tmp_path / "0-train-1.pt").write_bytes(data)
        entry = {"file": "0-train-1.pt", "sha256": hashlib.sha256(data).hexdigest()}
        (tmp_path / MANIFEST).write_text(json.dumps({"checkpoints": [entry]}))
        with pytest.raises(TrainingError, match=r"0-train-1\.pt"):
            load(tmp_path, lambda sentence: None)


MANIFESTS = {
    "empty": b"",
    "half": b'{"checkpoints": [{"file": "0-tr',
    "zeros": bytes(100),
    "not UTF-8": b"\xff\xfe{}",
    "a list": b"[]",
    "a number": b"3",
    "null": b"null",
    "no key": b"{}",
    "empty list": b'{"checkpoints": []}',
    "no list": b'{"checkpoints": 3}',
    "null list": b'{"checkpoints": null}',
    "a text": b'{"checkpoints": "ab"}',
    "a mapping": b'{"checkpoints": {"file": "x"}}',
    "texts": b'{"checkpoints": ["0-train-2.pt"]}',
    "no digest": b'{"checkpoints": [{"file": "0-train-2.pt"}]}',
    "no file": b'{"checkpoints": [{"sha256": "00"}]}',
    "wrong digest": b'{"checkpoints": [{"file": "0-train-2.pt", "sha256": "00"}]}',
    "empty name": b'{"checkpoints": [{"file": "", "sha256": "00"}]}',
    "a dot": b'{"checkpoints": [{"file": ".", "sha256": "00"}]}',
    "two dots": b'{"checkpoints": [{"file": "..", "sha256": "00"}]}',
    "a slash": b'{"checkpoints": [{"file": "/", "sha256": "00"}]}',
    "a nul": b'{"checkpoints": [{"file": "\\u0000", "sha256": "00"}]}',
    "a long name": b'{"checkpoints": [{"file": "' + b"x" * 300 + b'", "sha256": "00"}]}',
    "deep": b"[" * 100_000,
}


def manifest(content: bytes, folder: Path) -> None:
    (folder / MANIFEST).write_bytes(content)


@pytest.mark.parametrize("content", MANIFESTS.values(), ids=MANIFESTS)
def test_a_run_with_a_damaged_manifest_resumes_from_the_newest_checkpoint_beside_it(content: bytes, tmp_path: Path) -> None:
    saved(tmp_path, 9, 10)  # names sort in another order than epochs
    manifest(content, tmp_path)
    warnings: list[str] = []
    assert load(tmp_path, warnings.append) == 10
    (sentence,) = warnings
    assert str(tmp_path / MANIFEST) in sentence and "resuming from the intact checkpoint 0-train-10.pt" in sentence
    again = Checkpoints(tmp_path)
    again.save("0-train-11", state(11))
    assert load(tmp_path) == 11, "the manifest is intact again"


def test_a_missing_manifest_loses_no_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path, 9, 10)
    (tmp_path / MANIFEST).unlink()
    warnings: list[str] = []
    assert load(tmp_path, warnings.append) == 10
    (sentence,) = warnings
    assert f"{tmp_path / MANIFEST} is missing; resuming from the intact checkpoint 0-train-10.pt" in sentence


def test_a_run_that_starts_anew_loads_no_earlier_checkpoint(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    set_aside(tmp_path)
    assert load(tmp_path) is None, "a forced sweep was cut short before this run"
    put_back(tmp_path)
    assert load(tmp_path) == 2
    reset(tmp_path)
    assert load(tmp_path) is None, "a forced run was cut short before its first checkpoint"


def test_with_a_damaged_manifest_and_a_damaged_newest_checkpoint_the_intact_one_is_loaded(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    manifest(b"", tmp_path)
    harm(tmp_path / "0-train-2.pt", lambda data: data[: len(data) // 2])
    assert load(tmp_path, lambda sentence: None) == 1


@pytest.mark.parametrize("damage", ["middle bit", "half", "zeros", "foreign", "gone"])
def test_a_damaged_manifest_without_an_intact_checkpoint_is_refused_in_one_sentence(damage: str, tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    manifest(b"{", tmp_path)
    for path in tmp_path.glob("*.pt"):
        harm(path, DAMAGES[damage])
    with pytest.raises(
        TrainingError, match="no checkpoint beside it is intact: give the command again with force=true"
    ) as caught:
        load(tmp_path, lambda sentence: None)
    assert str(tmp_path) in str(caught.value)


def test_a_manifest_that_is_a_folder_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(TrainingError, match="cannot be read"):
        load(tmp_path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=40) | st.recursive(st.none() | st.text(max_size=3) | st.integers(), st.lists).map(repr))
def test_a_manifest_with_any_content_is_read_or_refused(content: bytes | str, tmp_path: Path) -> None:
    data = content if isinstance(content, bytes) else json.dumps({"checkpoints": content}).encode()
    (tmp_path / MANIFEST).write_bytes(data)
    with suppress(TrainingError):
        assert load(tmp_path, lambda sentence: None) is None


@pytest.mark.parametrize("steps", range(4))
def test_a_forced_run_that_is_cut_short_does_not_resume_from_an_old_checkpoint(
    steps: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after any number of removals, `reset` leaves the old result, or no old checkpoint that counts."""
    Checkpoints(tmp_path).save("0-train-1", {"epoch": 1})
    (tmp_path / RESULT).write_text("{}")
    removed: list[Path] = []
    unlink = Path.unlink

    def interrupted(path: Path, missing_ok: bool = False) -> None:
        if len(removed) == steps:
            raise KeyboardInterrupt
        removed.append(path)
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", interrupted)
    with suppress(KeyboardInterrupt):
        reset(tmp_path)
    monkeypatch.undo()
    assert (tmp_path / RESULT).exists() or not Checkpoints(tmp_path).entries
