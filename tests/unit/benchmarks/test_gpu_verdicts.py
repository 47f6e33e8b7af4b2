"""What the GPU check says to switch on, from given numbers."""

from collections.abc import Sequence
from typing import Any

import pytest
from gpu.verdicts import INDUCTOR, LAYOUT, NO_TIME, Row, best_of, greedy, noise, of_lanes, of_levers, verdict, words


def row(ratio: float, spread: float = 0.005, distance: float = 0.5, loss: float = 0.0) -> Row:
    quartiles = [ratio - spread, ratio + spread]
    return {"ms": 4 * ratio, "reference_ms": 4.0, "ratio": ratio, "quartiles": quartiles, "distance": distance, "loss": loss}


def judged(row: Row, noise: float = 0.02, precision: str = "bf16") -> Row:
    return row | {"verdict": verdict(row, noise, precision)}


def said(alone: dict[str, Row], kept: Sequence[str], **more: Any) -> list[str]:
    rows = {name: judged(one) for name, one in alone.items()}
    return list(of_levers({"bf16": {"control": row(1.0), "noise": 0.02, "alone": rows, "kept": list(kept), **more}}))


def test_the_noise_is_how_far_a_step_is_from_itself() -> None:
    assert noise(row(1.0, 0.001)) == 0.01
    assert noise(row(1.0, 0.04)) == pytest.approx(0.04)
    assert noise(row(0.93, 0.01)) == pytest.approx(0.08)


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (row(0.90), "faster"),
        (row(0.99), "no faster"),  # within the noise
        (row(0.97, spread=0.05), "no faster"),  # faster in the median, not in three quarters of the rounds
        (row(1.10), "slower"),
        (row(0.50, distance=1.2), "wrong"),
        (row(0.50, distance=float("nan")), "wrong"),
        (row(0.50, loss=0.06), "wrong"),
        ({"error": "RuntimeError: no kernel"}, "failed"),
        ({"error": "needs CUDA: runtime.levers: ..."}, "needs CUDA"),
        ({"error": "refused: runtime.levers: joint_casts is for bf16"}, "refused"),
        ({"error": "no time was left"}, "no time was left"),
    ],
)
def test_a_way_is_faster_only_beyond_the_noise_and_if_it_is_right(measured: Row, expected: str) -> None:
    assert verdict(measured, 0.02, "bf16") == expected


def test_a_loss_is_judged_by_its_precision() -> None:
    assert verdict(row(0.9, loss=0.005), 0.02, "fp32") == "wrong"
    assert verdict(row(0.9, loss=0.005), 0.02, "tf32") == "faster"


def test_ways_are_joined_in_the_order_of_their_gains_and_stay_if_they_gain_more() -> None:
    alone = {"a": 0.8, "b": 0.7, "c": 0.9, "d": 1.0, "e": 0.95}
    tried: list[tuple[list[str], list[str]]] = []

    def measured(ways: Sequence[str], fewer: Sequence[str]) -> Row:
        tried.append((list(ways), list(fewer)))
        return {"error": "RuntimeError: no"} | {"verdict": "failed"} if ways[-1] == "c" else judged(row(0.9))

    assert greedy({name: judged(row(ratio)) for name, ratio in alone.items()}, measured) == ["b", "a", "e"]
    assert tried == [(["b", "a"], ["b"]), (["b", "a", "c"], ["b", "a"]), (["b", "a", "e"], ["b", "a"])]
    assert greedy({"d": judged(row(1.0))}, measured) == []


def test_words_switch_ways_on() -> None:
    assert words(["a", LAYOUT, "b"]) == ["runtime.levers=[a,b]", LAYOUT]
    assert words([LAYOUT]) == [LAYOUT]
    assert words([]) == []


def test_each_lever_gets_a_sentence_that_says_what_to_do() -> None:
    alone = {
        "a": row(0.8),
        "b": row(0.9),
        "idle": row(1.0),
        "slow": row(1.2),
        "bad": row(0.5, distance=40.0),
        "broken": {"error": "RuntimeError: no kernel"},
        "late": {"error": "no time was left"},
        "later": {"error": "no time was left"},
        "other": {"error": "refused: runtime.levers: other is for fp32"},
        "spare": row(0.95),
    }
    tried = [judged(row(1.0)) | {"ways": ["a", "b", "spare"]}, {"error": "E: x", "verdict": "failed", "ways": ["a", "z"]}]
    assert said(alone, ["a", "b"], together=judged(row(0.7)), tried=tried) == [
        "bf16: switch on runtime.levers=[a,b]: 2.800 ms a step against 4.000, 0.70 of the time (noise 0.020)",
        "bf16: not measured, no time was left: late, later",
        "bf16: leave idle out: 1.00 of the time, within the noise",
        "bf16: leave slow out: slower, 1.20 of the time",
        "bf16: leave bad out: wrong numbers, 40 times what roundings explain, losses 0.0e+00 apart",
        "bf16: leave broken out: it failed: RuntimeError: no kernel",
        "bf16: leave other out: refused: runtime.levers: other is for fp32",
        "bf16: leave spare out: 0.95 of the time alone, no gain beside the others",
        "bf16: a and z do not work together: it failed: E: x",
    ]


def test_one_lever_alone_and_none_are_said() -> None:
    assert said({"a": row(0.8)}, ["a"]) == [
        "bf16: switch on runtime.levers=[a]: 3.200 ms a step against 4.000, 0.80 of the time (noise 0.020)"
    ]
    assert said({}, []) == ["bf16: switch nothing on; a step takes 4.000 ms, and no way is right and faster (noise 0.020)"]


def test_inductor_is_compared_and_never_joined_by_itself() -> None:
    sentence = said({INDUCTOR: row(0.6) | {"setup": 31.0}}, [])[1]
    assert sentence == "bf16: runtime.compile=true alone takes 0.60 of the time, 2.400 ms a step; set up in 31 s"


def test_a_record_cut_short_says_so_and_a_failed_step_names_its_error() -> None:
    alone = {"a": judged(row(0.8)), "b": judged(row(1.0))}
    cut = {"bf16": {"control": row(1.0), "noise": 0.02, "alone": alone}, "tf32": {"control": {"error": "E: x"}, "noise": 0.0}}
    sentences = list(of_levers(cut))
    assert sentences[0] == "bf16: cut short before ways were joined; faster alone: a (noise 0.020)"
    assert sentences[-1] == "tf32: not measured, because the step without levers failed: E: x"


def test_the_fewest_runs_at_once_with_nearly_the_most_images_are_best() -> None:
    assert best_of({1: 100.0, 4: 105.0, 8: 109.0}) == 1
    assert best_of({1: 100.0, 4: 150.0, 8: 155.0}) == 4
    assert best_of({1: 100.0, 4: 150.0, 8: 200.0}) == 8


def lanes(*rates: float) -> dict[str, Row]:
    return {str(k): {"images_per_second": rate, "peak_MiB": 100.0 * k} for k, rate in zip((1, 4, 8), rates, strict=False)}


def test_auto_becomes_more_than_one_if_the_fastest_way_of_each_precision_gains() -> None:
    ways = {"bf16 NHWC": lanes(1000, 1500, 1520), "tf32 NHWC": lanes(800, 1000, 1400), "tf32 NCHW": lanes(800, 810)}
    assert list(of_lanes(ways, 80_000)) == [
        "bf16 NHWC: one run does 1000 images/s, 4 do 1.50 times, 8 do 1.52 times; 8 take 800 of 80000 MiB",
        "tf32 NHWC: one run does 800 images/s, 4 do 1.25 times, 8 do 1.75 times; 8 take 800 of 80000 MiB",
        "tf32 NCHW: one run does 800 images/s, 4 do 1.01 times; 4 take 400 of 80000 MiB",
        "runtime.pack=auto on this device should become 4: best are 4 in bf16 NHWC, 8 in tf32 NHWC",
    ]
    one = list(of_lanes({"bf16 NHWC": lanes(1000, 1050), "tf32 NHWC": lanes(800, 1600)}, 80_000))
    assert one[-1] == "runtime.pack=auto on this device should stay 1: best are 1 in bf16 NHWC, 4 in tf32 NHWC"


def test_lanes_that_hang_are_named_and_decide_nothing() -> None:
    hung: dict[str, Row] = {"1": {"images_per_second": 900.0, "peak_MiB": 90.0}, "4": {"error": "no answer after 40 s"}}
    assert list(of_lanes({"tf32 NHWC": hung, "tf32 NCHW": {"1": {"error": NO_TIME}}}, 0.0)) == [
        "tf32 NHWC: 4 at once failed: no answer after 40 s",
        "tf32 NCHW: 1 at once not measured: no time was left",
    ]
