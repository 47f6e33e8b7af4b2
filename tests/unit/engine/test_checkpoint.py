"""A run that is stopped at any moment, by whatever, has a whole checkpoint, and ends bit-equal to one that was not stopped."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from ltrun.engine.checkpoint import MANIFEST, Checkpoints
from ltrun.engine.stage import Row
from ltrun.errors import TrainingError
from ltrun.parts import Network
from tests.support.cases import CPU, METHODS, Composed, bound, changed, composed, differing, small, snapshot, trainer


def state(value: int, size: int = 500) -> dict[str, Any]:
    return {"stage": 0, "epoch": value, "module": {"weight": torch.full((size,), float(value))}, "best": None}


def never(sentence: str) -> None:
    pytest.fail(f"unexpected warning: {sentence}")


def load(folder: Path, warn: Callable[[str], None] = never) -> int | None:
    """The value of the state that a new process would go on from; fails unless all of it is of one checkpoint."""
    found = Checkpoints(folder).load(CPU, warn)
    if found is None:
        return None
    assert found["module"]["weight"].unique().tolist() == [found["epoch"]]
    return found["epoch"]


def saved(folder: Path, *values: int) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for value in values:
        checkpoints.save(f"0-train-{value}", state(value))
    return checkpoints


# ----------------------------------------------------------------------------------------------------------- saving, loading


def test_the_newest_is_loaded_and_the_one_before_it_is_kept(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    saved(tmp_path, 1, 2, 3)
    assert load(tmp_path) == 3
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, "0-train-2.pt", "0-train-3.pt"}


def test_only_the_last_remains_of_a_run_that_is_done(tmp_path: Path) -> None:
    checkpoints = saved(tmp_path, 1, 2, 3)
    checkpoints.keep_last_only()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-train-3.pt", MANIFEST]
    assert load(tmp_path) == 3
    checkpoints.keep_last_only()
    assert load(tmp_path) == 3


def test_what_a_killed_process_left_behind_is_removed(tmp_path: Path) -> None:
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


def test_a_run_that_shall_not_be_resumed_starts_anew(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    anew = Checkpoints(tmp_path, resume=False)
    assert anew.load(CPU, never) is None
    anew.save("0-train-1", state(1))
    assert load(tmp_path) == 1
    assert {path.name for path in tmp_path.iterdir()} == {MANIFEST, "0-train-1.pt"}


# ----------------------------------------------------------------------------------------------------------------- damage


def flipped(where: float) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        place = min(int(where * len(data)), len(data) - 1)
        return data[:place] + bytes([data[place] ^ 0x40]) + data[place + 1 :]

    return damage


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "first bit": flipped(0.0),
    "middle bit": flipped(0.5),
    "last bit": flipped(1.0),
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "half": lambda data: data[: len(data) // 2],
    "a byte short": lambda data: data[:-1],
    "a byte more": lambda data: data + b"\0",
    "zeros": lambda data: bytes(len(data)),
    "foreign": lambda data: b"PK\3\4 a zip file of somebody else",
    "a pickle": lambda data: pickle.dumps({"epoch": 9}),
    "gone": lambda data: None,
}


def harm(path: Path, damage: Callable[[bytes], bytes | None]) -> None:
    data = damage(path.read_bytes())
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_serves(damage: Any, tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    harm(tmp_path / "0-train-2.pt", damage)
    warnings: list[str] = []
    assert load(tmp_path, warnings.append) == 1
    (sentence,) = warnings
    assert "0-train-2.pt is damaged" in sentence
    again = Checkpoints(tmp_path)  # the run goes on, and saves the same epoch again
    again.load(CPU, warnings.append)
    again.save("0-train-2", state(2))
    again.save("0-train-3", state(3))
    assert load(tmp_path) == 3 and len(list(tmp_path.glob("*.pt"))) == 2


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_two_damaged_checkpoints_are_one_sentence(damage: Any, tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    for path in tmp_path.glob("*.pt"):
        harm(path, damage)
    with pytest.raises(TrainingError, match="remove the folder") as caught:
        load(tmp_path, lambda sentence: None)
    assert str(tmp_path) in str(caught.value)


def test_a_damaged_previous_checkpoint_is_not_even_looked_at(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    harm(tmp_path / "0-train-1.pt", lambda data: b"")
    assert load(tmp_path) == 2


@pytest.mark.parametrize(
    "data", [b"", b"text", pickle.dumps({"epoch": 1}), pickle.dumps(os.system), b"PK\5\6" + bytes(18)], ids=len
)
def test_a_foreign_file_with_the_right_digest_is_one_sentence(data: bytes, tmp_path: Path) -> None:
    saved(tmp_path, 1)
    (tmp_path / "0-train-1.pt").write_bytes(data)
    entry = {"file": "0-train-1.pt", "sha256": hashlib.sha256(data).hexdigest()}
    (tmp_path / MANIFEST).write_text(json.dumps({"checkpoints": [entry]}))
    with pytest.raises(TrainingError, match=r"0-train-1\.pt"):
        load(tmp_path, lambda sentence: None)


def test_a_truncated_zip_with_the_right_digest_is_one_sentence(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("content", MANIFESTS.values(), ids=MANIFESTS)
def test_a_damaged_manifest_is_one_sentence_and_nothing_is_lost(content: bytes, tmp_path: Path) -> None:
    saved(tmp_path, 1, 2)
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(TrainingError) as caught:
        load(tmp_path, lambda sentence: None)
    assert str(tmp_path) in str(caught.value) and "remove" in str(caught.value)
    assert len(list(tmp_path.glob("*.pt"))) == 2


def test_a_manifest_that_is_no_file_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).mkdir()
    with pytest.raises(TrainingError):
        load(tmp_path)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=40) | st.recursive(st.none() | st.text(max_size=3) | st.integers(), st.lists).map(repr))
def test_whatever_the_manifest_holds_it_is_read_or_refused(content: bytes | str, tmp_path: Path) -> None:
    data = content if isinstance(content, bytes) else json.dumps({"checkpoints": content}).encode()
    (tmp_path / MANIFEST).write_bytes(data)
    with suppress(TrainingError):
        assert load(tmp_path, lambda sentence: None) is None


# ----------------------------------------------------------------------------------------------------------------- faults


class Killed(BaseException):
    """What no handler of ltrun's catches."""


class Disk:
    """Stands between ltrun and os: the n-th call that reaches the disk fails, with half of its bytes written.

    kind 'full': every later write fails too, until `free`. kind 'killed': the process is gone, nothing later happens at all,
    not even what a `finally` would do.
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
            if name == "close" and self.kind != "killed":  # closing gives room back and cannot be full
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
    """Does `act` once for every call that could fail, and holds what a new process finds against `after`."""
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
        # the same command again
        again = Checkpoints(place)
        again.load(CPU, warnings.append)
        for value in (3, 4):
            again.save(f"0-train-{value}", state(value))
        assert load(place) == 4
        assert {path.name for path in place.iterdir()} == {MANIFEST, "0-train-3.pt", "0-train-4.pt"}


KINDS = pytest.mark.parametrize("kind", ["full", "interrupted", "killed"])


@KINDS
def test_a_fault_at_any_call_of_the_first_save_leaves_nothing_or_all_of_it(kind: str, tmp_path: Path) -> None:
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
    """After a damaged newest checkpoint the run saves under that name once more; the one before it is still there."""

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


def test_a_full_disk_says_so_and_the_run_can_go_on_in_the_same_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    """write, fsync, replace, fsync of the folder: for the checkpoint, then for the manifest; removal comes last."""
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


# ----------------------------------------------------------------------------------------------------------------- resume


class Stop(Exception):
    """The process ends here."""


class Fragile(Checkpoints):
    """Stops the process right after it saved."""

    def save(self, name: str, state: dict[str, Any]) -> None:
        super().save(name, state)
        raise Stop


def trained(composition: Composed, folder: Path, seed: int = 0, **changes: Any) -> tuple[Network, list[Row]]:
    rows: list[Row] = []
    network = trainer(bound(composition), folder, report=rows.append, seed=seed, **changes).run()
    return network, rows


def stopped_at_every_epoch(composition: Composed, folder: Path, report: bool, **changes: Any) -> tuple[Network, list[Row]]:
    """Stops after each checkpoint, or (`report`) once in each epoch just before its checkpoint is written."""
    rows: list[Row] = []
    stops = 0

    def tell(row: Row) -> None:
        if report and (not rows or (rows[-1]["stage"], rows[-1]["epoch"]) != (row["stage"], row["epoch"])):
            rows.append(row)
            raise Stop
        if report:
            rows.pop()
        rows.append(row)

    for _ in range(20):
        checkpoints = Checkpoints(folder) if report else Fragile(folder)
        try:
            network = trainer(bound(composition), folder, report=tell, checkpoints=checkpoints, **changes).run()
        except Stop:
            stops += 1
            continue
        assert stops == len(rows), "it was not stopped in every epoch"
        return network, rows
    pytest.fail("it begins anew every time")


def comparable(rows: list[Row]) -> list[Row]:
    """Without what is measured by the clock."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


@pytest.mark.contract
@pytest.mark.parametrize("method", METHODS)
def test_every_preset_ends_bit_equal_when_stopped_after_every_checkpoint(method: str, tmp_path: Path) -> None:
    composition = small(composed(f"method={method}"))
    (whole, rows), (broken, again) = (
        trained(composition, tmp_path / "whole"),
        stopped_at_every_epoch(composition, tmp_path / "broken", report=False),
    )
    assert differing(snapshot(whole), snapshot(broken)) == set()
    assert comparable(rows) == comparable(again)
    assert same(last_state(tmp_path / "whole"), last_state(tmp_path / "broken"))


@pytest.mark.parametrize("method", ["erm", "ldam_drw", "crt", "lws", "cmo", "paco", "sade", "bbn"])
def test_a_preset_ends_bit_equal_when_stopped_before_every_checkpoint(method: str, tmp_path: Path) -> None:
    composition = small(composed(f"method={method}"))
    (whole, rows), (broken, again) = (
        trained(composition, tmp_path / "whole"),
        stopped_at_every_epoch(composition, tmp_path / "broken", report=True),
    )
    assert differing(snapshot(whole), snapshot(broken)) == set()
    assert comparable(rows) == comparable(again)


@pytest.mark.contract
@pytest.mark.parametrize("method", METHODS)
def test_another_seed_is_another_run(method: str, tmp_path: Path) -> None:
    """The same seed is bit-equal, as the test above has it."""
    composition = small(composed(f"method={method}"), epochs=1)
    (first, rows), (second, others) = (trained(composition, tmp_path / str(seed), seed=seed) for seed in (5, 6))
    assert differing(snapshot(first), snapshot(second)) and comparable(rows) != comparable(others)


@pytest.mark.parametrize("every", [2, 100])
def test_a_run_with_rare_checkpoints_ends_bit_equal(every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It goes on from the last one that was due; the last epoch of a stage always is."""
    composition = changed(small(composed("method=crt")), stages__classifier__fraction=0.7)  # three epochs and two
    ticks = count()  # a second an epoch: the trainer looks at the clock when one ends, and when it has saved
    monkeypatch.setattr(
        "ltrun.engine.trainer.time", SimpleNamespace(perf_counter=time.perf_counter, monotonic=lambda: next(ticks))
    )
    whole, rows = trained(composition, tmp_path / "whole", checkpoint_seconds=every)
    due = {2: {2, 3, 5}, 100: {3, 5}}[every]
    for stop_at in (1, 2, 3, 4, 5) if every == 2 else (3, 4):
        folder, seen = tmp_path / str(stop_at), list[Row]()

        def tell(row: Row, seen: list[Row] = seen, stop_at: int = stop_at) -> None:
            seen.append(row)
            if len(seen) == stop_at:
                raise Stop  # before this epoch's checkpoint

        with pytest.raises(Stop):
            trainer(bound(composition), folder, report=tell, checkpoint_seconds=every).run()
        again, rest = trained(composition, folder, checkpoint_seconds=every)
        assert differing(snapshot(whole), snapshot(again)) == set()
        assert len(rest) == 5 - max({0, *due} & set(range(stop_at)))
        assert comparable(rest) == comparable(rows)[-len(rest) :]


def test_a_run_that_is_done_is_not_trained_again(tmp_path: Path) -> None:
    composition = small(composed("method=crt"))
    first, rows = trained(composition, tmp_path)
    second, none = trained(composition, tmp_path)
    assert len(rows) == 4 and none == []
    assert differing(snapshot(first), snapshot(second)) == set()


@pytest.mark.parametrize("damage", ["middle bit", "half", "gone"])
def test_a_run_whose_newest_checkpoint_is_damaged_ends_bit_equal(damage: str, tmp_path: Path) -> None:
    composition = small(composed("method=crt"))
    whole, _ = trained(composition, tmp_path / "whole")
    for stop_at in (2, 3, 4):  # of four epochs, the last of which is the second stage's
        folder, warnings = tmp_path / str(stop_at), list[str]()
        for _ in range(stop_at):
            with suppress(Stop):
                trainer(bound(composition), folder, checkpoints=Fragile(folder)).run()
        checkpoints = Checkpoints(folder)
        harm(folder / checkpoints.entries[0]["file"], DAMAGES[damage])
        again, rows = trained(composition, folder, warn=warnings.append)
        assert differing(snapshot(whole), snapshot(again)) == set()
        assert len(warnings) == 1 and len(rows) == 4 - (stop_at - 1)


def last_state(folder: Path) -> dict[str, Any]:
    found = Checkpoints(folder).load(CPU, never)
    assert found is not None
    del found["seconds"]
    return found


def same(first: Any, second: Any) -> bool:
    """Bit-equal, whatever is nested in what."""
    if isinstance(first, Tensor):
        return isinstance(second, Tensor) and torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)
