"""Faults while checkpoints are saved: a full disk, an interrupt or a kill at any system call leaves an intact checkpoint."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ltrun.engine.checkpoint import MANIFEST, Checkpoints
from ltrun.errors import TrainingError
from tests.support.cases import CPU
from tests.support.checkpoints import harm, load, saved, state


class Killed(BaseException):
    """An exception that no handler of ltrun catches."""


class Disk:
    """Replaces calls of `os`: call number `fail_at` fails, a write after half of its bytes.

    kind: 'full': later calls that need space fail too. 'interrupted': the call raises KeyboardInterrupt. 'killed': no later
    call reaches the disk, not even from a `finally`, because the process is gone.
    """

    CALLS = ("open", "write", "fsync", "close", "replace", "unlink")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fail_at: int, kind: str):
        self.count, self.fail_at, self.kind, self.failed = 0, fail_at, kind, False
        self.real = {name: getattr(os, name) for name in self.CALLS}
        for name in self.CALLS:
            monkeypatch.setattr(os, name, self._patched(name))

    def _patched(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if self.failed and self.kind == "killed":
                raise Killed
            if name == "close" and self.kind != "killed":  # closing a file needs no space
                return self.real[name](*arguments)
            if self.kind == "full" and name in ("unlink", "replace"):
                return self.real[name](*arguments, **keywords)
            self.count += 1
            if self.count == self.fail_at or (self.failed and self.kind == "full"):
                self.failed = True
                if name == "write":
                    self.real[name](arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                raise Killed if self.kind == "killed" else self._error()
            return self.real[name](*arguments, **keywords)

        return call

    def _error(self) -> BaseException:
        return KeyboardInterrupt() if self.kind == "interrupted" else OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def faults(
    folder: Path, before: Callable[[Path], Checkpoints], act: Callable[[Checkpoints], None], kind: str, after: set[int | None]
) -> int:
    """Fails each call of `act` in turn; a new process must then load a value in `after`. Returns the number of calls."""
    fail_at = 0
    while True:
        fail_at += 1
        place = folder / str(fail_at)
        place.mkdir()
        checkpoints = before(place)
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, fail_at, kind)
            try:
                act(checkpoints)
            except (Killed, KeyboardInterrupt):
                assert disk.failed
            except TrainingError as error:
                assert disk.failed and kind == "full" and "full" in str(error)
        if not disk.failed:
            return fail_at - 1
        warnings: list[str] = []
        assert load(place, warnings.append) in after, f"fault at call {fail_at}"
        if kind != "killed":
            assert not list(place.glob(".*.tmp")), f"fault at call {fail_at} left a temporary file"
        # the user gives the same command again
        again = Checkpoints(place)
        again.load(CPU, warnings.append)
        for value in (3, 4):
            again.save(f"0-train-{value}", state(value))
        assert load(place) == 4
        assert {path.name for path in place.iterdir()} == {MANIFEST, "0-train-3.pt", "0-train-4.pt"}


KINDS = pytest.mark.parametrize("kind", ["full", "interrupted", "killed"])


@KINDS
def test_a_fault_at_any_call_of_the_first_save_leaves_no_checkpoint_or_the_new_one(kind: str, tmp_path: Path) -> None:
    tried = faults(tmp_path, Checkpoints, lambda checkpoints: checkpoints.save("0-train-1", state(1)), kind, {None, 1})
    assert tried >= 6


@KINDS
def test_a_fault_at_any_call_of_a_save_leaves_the_last_checkpoint_or_the_new_one(kind: str, tmp_path: Path) -> None:
    tried = faults(
        tmp_path,
        lambda place: saved(place, 1, 2),
        lambda checkpoints: checkpoints.save("0-train-3", state(3)),
        kind,
        {2, 3},
    )
    assert tried >= 6


@KINDS
def test_a_fault_while_an_epoch_is_saved_again_leaves_a_checkpoint(kind: str, tmp_path: Path) -> None:
    """A run whose newest checkpoint is damaged saves under the same name again; the previous checkpoint is still there."""

    def before(place: Path) -> Checkpoints:
        saved(place, 1, 2)
        harm(place / "0-train-2.pt", lambda data: data[:100])
        checkpoints = Checkpoints(place)
        checkpoints.load(CPU, lambda sentence: None)
        return checkpoints

    assert faults(tmp_path, before, lambda checkpoints: checkpoints.save("0-train-2", state(2)), kind, {1, 2}) >= 6


@KINDS
def test_a_fault_at_the_end_of_a_run_leaves_its_last_checkpoint(kind: str, tmp_path: Path) -> None:
    assert faults(tmp_path, lambda place: saved(place, 1, 2), Checkpoints.keep_last_only, kind, {2}) >= 4


def test_a_full_disk_is_named_and_the_same_process_can_save_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = saved(tmp_path, 1)
    with monkeypatch.context() as patch:
        Disk(patch, 2, "full")
        for _ in range(2):
            with pytest.raises(TrainingError, match="free some space"):
                checkpoints.save("0-train-2", state(2))
    assert load(tmp_path) == 1
    checkpoints.save("0-train-2", state(2))
    assert load(tmp_path) == 2


def test_bytes_reach_the_disk_before_their_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """write, fsync, replace, fsync of the folder: for the checkpoint, then for the manifest; the oldest file goes last."""
    checkpoints, calls = saved(tmp_path, 1, 2), list[str]()

    def noted(name: str, real: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        calls.append(name)
        return real(*arguments, **more)

    for name in ("write", "fsync", "replace", "unlink"):
        monkeypatch.setattr(os, name, partial(noted, name, getattr(os, name)))
    checkpoints.save("0-train-3", state(3))
    order = [call for i, call in enumerate(calls) if call != "unlink" and (i == 0 or calls[i - 1] != call)]
    assert order == ["write", "fsync", "replace", "fsync"] * 2
    assert calls[-1] == "unlink" and not (tmp_path / "0-train-1.pt").exists()
