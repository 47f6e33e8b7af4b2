"""Correctness of the benchmarks: their checks of equality, of disturbance, and their ratios. Never the speed of anything."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from ltrun.contracts.imagined import DEVICE, Tape, imagined_cuda

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
REPRODUCTION = BENCHMARKS / "results" / "reproduction.json"
sys.path += [str(BENCHMARKS), str(BENCHMARKS / "gpu")]  # as for a script in that folder; ltrun finds the stand-ins by it
common, floor, plain, step, subject, table, timing = (
    importlib.import_module(name) for name in ("common", "floor", "plain", "step", "subject", "table", "timing")
)
CPU = torch.device("cpu")


def repeat(seconds: float, disturbed: bool = False) -> Any:
    return timing.Repeat(seconds, seconds, 0.0, disturbed)


def settings(*words: str) -> argparse.Namespace:
    return step.parser().parse_args(["--batch-size", "8", *words])


# --------------------------------------------------------------------------------------------------------------- timing


def test_disturbed_repeats_are_counted_and_set_aside() -> None:
    times = timing.Times([repeat(1.0), repeat(9.0, disturbed=True), repeat(2.0), repeat(4.0)])
    summary = times.summary()
    assert times.median == summary["median"] == 2.0
    assert (summary["first_quartile"], summary["third_quartile"]) == (1.5, 3.0)
    assert (summary["n"], summary["disturbed"], len(summary["repeats"])) == (3, 1, 4)
    assert timing.Times([repeat(3.0, disturbed=True)]).median == 3.0, "with nothing else, disturbed repeats count"


@pytest.mark.parametrize(
    ("own", "others", "cores", "expected"),
    [
        (10.0, 0.5, 1, False),  # a twentieth of a core
        (10.0, 5.0, 2, False),  # both fit
        (10.0, 9.0, 2, True),
        (20.0, 2.0, 2, True),
        (10.0, 90.0, 16, False),  # sixteen cores, ten busy
        (10.0, None, 1, False),  # unknown
    ],
)
def test_other_programs_disturb_only_if_cores_run_short(own: float, others: float | None, cores: int, expected: bool) -> None:
    assert timing.in_the_way(10.0, own, others, cores) is expected


def test_sides_take_turns_until_enough_repeats_are_undisturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    calls: dict[str, Callable[[], None]] = {name: lambda name=name: order.append(name) for name in "AB"}  # type: ignore[misc]
    disturbed = iter([True] + 99 * [False])

    def timed(call: Callable[[], None], device: torch.device) -> Any:
        call()
        return repeat(1.0, next(disturbed))

    monkeypatch.setattr(timing, "timed", timed)
    rounds: list[int] = []
    times = timing.alternate(calls, 2, CPU, after=lambda times: rounds.append(len(times["A"].repeats)))
    assert "".join(order) == "AB" + "ABBAAB", "a warm-up, then back and forth, once more for the disturbed one"
    assert rounds == [1, 2, 3] and len(times["A"].quiet) == 2
    disturbed = iter(99 * [True])
    assert len(timing.alternate(calls, 2, CPU)["A"].repeats) == 2 * timing.EXTRA, "it does not go on for ever"


def test_a_record_is_on_disk_before_it_is_complete_and_names_no_path(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    record = common.Record("step", settings("--json", str(path)), CPU)
    record.times({"a": timing.Times([repeat(1.0)])})
    early = json.loads(path.read_text())
    assert early["times"]["a"]["n"] == 1 and not early["complete"]
    record.close()
    late = path.read_text()
    assert json.loads(late)["complete"] and str(tmp_path) not in late
    assert {"device", "versions", "date", "threads", "settings"} <= early.keys()


# ------------------------------------------------------------------------------------------------------- the same numbers


def test_ltrun_and_the_plain_loop_compute_the_same() -> None:
    differences = step.gate(settings(), CPU)
    assert differences["gradient"] < 1e-9, "in float64 nothing but the order of sums is left"
    assert all(differences[name] <= most for name, most in step.TOLERANCES["fp32"].items())


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ("optimizer.weight_decay=0.02", "steps"),
        ("logit_adjustment=balanced_softmax", "loss"),
    ],
)
def test_a_loop_that_computes_something_else_is_not_timed(change: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = step.runtime
    monkeypatch.setattr(step, "runtime", lambda args: (*given(args), change))
    monkeypatch.setattr(step, "gradient", lambda *_: {})
    assert step.gate(settings(), CPU)[name] > step.TOLERANCES["fp32"][name]


def test_another_network_does_not_take_the_weights() -> None:
    with pytest.raises(ValueError, match="same tensors"):
        plain.ResNet32(10).load(nn.Linear(2, 2))


def test_a_step_has_the_operations_of_resnet32() -> None:
    """An image takes 137.7 MFLOP forward and 412.3 in training, and has 303,104 outputs of convolutions."""
    layers = floor.convolutions(subject.Subject(CPU, "method=erm"), 2)
    assert len(layers) == 31
    assert sum(layer.outputs for layer in layers) == 2 * 303_104
    assert sum(layer.operations for layer in layers) == pytest.approx(2 * 412.3e6, rel=1e-3)


# ---------------------------------------------------------------------------------------------------------------- ratios


def test_ratios_are_of_whole_epochs(capsys: pytest.CaptureFixture[str]) -> None:
    """A tenth of an epoch of 1000 images and a hundredth of 10,000 test images were timed."""
    seconds = {"plain train": 2.0, "ltrun train": 1.0, "plain evaluation": 0.1, "ltrun evaluation": 0.05}
    times = {name: timing.Times([repeat(value)]) for name, value in seconds.items()}
    found = step.summary(times, {"trained": 100, "train": 1000, "tested": 100, "test": 10_000})
    assert found["train"] == found["evaluation"] == 2.0
    assert found["epoch"] == pytest.approx((20 + 10) / (10 + 5))
    assert found["run"] == pytest.approx((20 + 10) / (10 + 0.5))
    assert common.unmet(["train=1.9", "epoch=2"], found) == 0
    assert common.unmet(["train=2.1"], found) == 1
    assert "train=2.00 is below 2.1" in capsys.readouterr().out
    assert common.unmet(["train=2.1"], found, below=False) == 0
    assert common.unmet(["train=1.9"], found, below=False) == 1
    assert "train=2.00 is above 1.9" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="there is no number 'speed'"):
        common.unmet(["speed=1"], found)


def test_recorded_results_make_tables(capsys: pytest.CaptureFixture[str]) -> None:
    """Every recorded benchmark is complete, except steps of a check of a GPU, and is in the table of its kind."""
    files = {path: table.recorded(path) for path in sorted((BENCHMARKS / "results").glob("*.json"))}
    of_cpus = {path: found for path, found in files.items() if path.stem[:6] not in ("bench-", "preset")}
    assert all(table.finished(record) for found in of_cpus.values() for record in found) and not of_cpus[REPRODUCTION]
    records = [record for found in files.values() for record in found if record["benchmark"] in table.TABLES]
    records = [record for record in records if table.finished(record)]
    assert table.main([]) == 0
    printed = capsys.readouterr().out
    assert all(table.where(record) in printed for record in records)


# ---------------------------------------------------------------------------------------------------------------- commands


def test_commands_start_the_ltrun_that_the_benchmark_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout may be the current folder, whose ltrun is not the installed one."""
    (tmp_path / "ltrun").mkdir()
    for name in ("__init__", "__main__"):
        (tmp_path / "ltrun" / f"{name}.py").write_text("raise SystemExit('this is another ltrun')\n")
    monkeypatch.chdir(tmp_path)
    done = subprocess.run([*subject.LTRUN, "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("ltrun "), done.stderr


def test_several_runs_are_measured_in_both_layouts() -> None:
    pack = importlib.import_module("pack")
    args = argparse.Namespace(
        at_once=[1, 2], layouts=["NHWC", "NCHW"], epochs=3, batch_size=8, largest_class=None, smoke=False, precision="tf32",
        compile="auto", device="cuda", threads=None,
    )  # fmt: skip
    found = pack.sides_of(args, beside=True)
    assert list(found) == ["1 at once", "2 at once", "2 commands", "1 at once, NCHW", "2 at once, NCHW", "2 commands, NCHW"]
    for name, (k, commands) in found.items():
        layout = f"runtime.channels_last={'false' if 'NCHW' in name else 'true'}"
        assert k == int(name[0]) and len(commands) == (k if "commands" in name else 1)
        assert all(layout in command and "runtime.precision=tf32" in command for command in commands)
    args.layouts = ["NCHW"]
    rates = pack.rates(
        {name: [pack.Measured(10.0 * k, 1.0, 1.0)] for name, (k, _) in pack.sides_of(args, beside=False).items()}
    )
    assert rates["2 at once, NCHW"]["times_one_run"] == 2


@pytest.mark.parametrize("rounded", [False, True])
def test_products_are_rounded_as_the_convolutions_of_the_step(rounded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step in tf32 leaves matrix products unrounded."""
    found: list[bool] = []
    call = floor.product(2, torch.float32, CPU, rounded)
    monkeypatch.setattr(torch, "mm", lambda *_, **__: found.append(torch.backends.cuda.matmul.allow_tf32))
    call()
    assert found == [rounded] and not torch.backends.cuda.matmul.allow_tf32


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is imagined")
def test_the_convolutions_alone_are_one_graph_on_a_device() -> None:
    """Launched one by one, they would be timed as the host's launches."""
    layers = [floor.Convolution(torch.Size((2, 3, 8, 8)), torch.Size((4, 3, 3, 3)), (1,), first=True)]
    layers += [floor.Convolution(torch.Size((2, 4, 8, 8)), torch.Size((4, 4, 3, 3)), (2,), first=False)]
    with imagined_cuda():
        tape = floor.passes(layers, torch.float32, DEVICE).__self__
        names = [kernel[0].__name__.split(".")[0] for kernel in tape.kernels]
        tape.replay()
    assert isinstance(tape, Tape)
    assert names.count("convolution") == names.count("convolution_backward") == 2


# ----------------------------------------------------------------------------------------------------------- every script


@pytest.mark.parametrize("script", [*BENCHMARKS.glob("*.py"), *(BENCHMARKS / "gpu").glob("*.py")], ids=lambda path: path.stem)
def test_every_script_finds_what_it_names_in_ltrun(script: Path) -> None:
    assert importlib.import_module(script.stem).__file__ == str(script)


def test_the_steady_rate_is_of_the_middle_epochs(tmp_path: Path) -> None:
    def steady(*rates: float) -> float:
        (tmp_path / "metrics.jsonl").write_text("".join(f'{{"images_per_second": {rate}}}\n' for rate in rates))
        return float(importlib.import_module("pack").steady(tmp_path))

    assert steady(1, 1, 7, 8, 9, 1) == 8
    assert steady(5) == 5


# ------------------------------------------------------------------------------------------------------ the check on a GPU


@pytest.mark.parametrize(
    ("distances", "warnings", "expected"),
    [
        ([(0.0, 0.0), (0.0, 1e-3)], [], "same bits"),
        ([(5e-5, 0.0), (1e-3, 1e-4)], [], "close"),
        ([(5e-5, 0.0), (1e-2, 1e-4)], [], "DIFFERS"),
        ([(torch.inf, torch.inf)], [], "DIFFERS"),
        ([(0.0, 0.0)], ["a part cannot be compiled or captured"], "WARNS"),
    ],
)
def test_a_replayed_preset_is_held_against_the_noise(distances: Any, warnings: list[str], expected: str) -> None:
    assert importlib.import_module("presets").verdict(distances, warnings) == expected


def test_tensors_that_are_not_finite_are_infinitely_far_away() -> None:
    apart, one, none = importlib.import_module("presets").apart, torch.ones(2), torch.full((2,), torch.nan)
    assert apart({"a": one, "b": one + 1}, {"a": one, "b": one}) == 1
    assert apart({"a": one, "b": none}, {"a": one, "b": one}) == torch.inf == apart({"a": one}, {"a": none})


def test_a_table_of_runs_at_once_needs_no_times() -> None:
    pack = common.Record("pack", settings(), CPU)
    pack.result(sides={"4 at once": {"images_per_second": 36608.5, "times_one_run": 1.5, "overlap": 0.99}})
    assert "4 at once | 36608 | 1.50 | 0.99 | – |" in "\n".join(next(table.tables([pack.content])))


def test_a_check_that_was_cut_short_is_summed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    (work / "found").mkdir(parents=True)
    out.mkdir()
    (work / "found" / "steps.jsonl").write_text('{"step": "probe", "code": 124, "seconds": 9, "limit": 9}\n')
    for name in ("probe", "step"):
        record = common.Record(name, settings("--json", str(work / "found" / f"{name}.json")), CPU)
        record.times({"tf32 NHWC": timing.Times([repeat(1.0)])})
        record.result(ways={"tf32 NHWC": {"ms": 1.25}, "bf16 NHWC": {"error": "no memory\nat all"}} if name == "probe" else {})
    assert importlib.import_module("collect").main([str(work), str(out)]) == 0
    summary = (out / "summary.md").read_text()
    assert "| probe | 124 | 9 | 9 |" in summary and "tf32 NHWC | 1.250 | – | – | – |  |" in summary
    assert "bf16 NHWC | – | – | – | – | no memory at all |" in summary and "Cut short: step" in summary
    assert table.main([str(out)]) == 0, "what came back can lie among the results"
    assert capsys.readouterr().out == "", "but a record that is not complete is in no table there"
