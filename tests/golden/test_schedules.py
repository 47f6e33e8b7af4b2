"""Learning rates and the switch of deferred re-weighting, epoch by epoch, against the original authors' code."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ltrun.config.bind import bind
from ltrun.reweighting import Deferred, EffectiveNumber, InverseFrequency
from ltrun.schedule.cosine import Cosine
from ltrun.schedule.multistep import MultiStep
from ltrun.types import ClassStats, Clock, Outputs
from tests.support.cases import blind_view
from tests.support.golden import STATS, Golden, at_epoch, close, every_case

OPTIONS = Path(__file__).parents[2] / "conf" / "schedule"
REPOSITORIES = {
    "vs": "lr multiplier orparask/VS-Loss class_imbalance/train.py",
    "ib": "lr multiplier pseulki/IB-Loss cifar_train.py",
    "mislas": "lr multiplier Jia-Research-Lab/MiSLAS train_stage2.py",
    "paco": "lr multiplier dvlab-research/Parametric-Contrastive-Learning PaCo/LT/paco_cifar.py",
    "metasaug": "lr multiplier MetaSAug",
    "ride": "lr multiplier frank-xwang/RIDE-LongTailRecognition (CustomLR)",
    "bbn": "lr multiplier BBN cifar",
    "reslt": "lr multiplier ResLT cifar",
}
SPANS = "[first epoch, last epoch, multiplier] (0-based, inclusive)"


def option(name: str) -> Any:
    """The schedule of conf/schedule/<name>.yaml."""
    return bind(yaml.safe_load((OPTIONS / f"{name}.yaml").read_text()), f"schedule={name}").build({})


def factors(schedule: Any, epochs: int | None = None) -> list[float]:
    epochs = epochs or schedule.epochs
    return [schedule.factor(Clock("joint", epoch, epochs)) for epoch in range(epochs)]


def spread(spans: list[list[float]]) -> list[float]:
    return [value for first, last, value in spans for _ in range(int(first), int(last) + 1)]


def test_learning_rates_and_deferred_weights(golden: Golden) -> None:
    data = golden("drw_and_lr_schedules")
    left_out = {"switch epoch per repo": "prose that repeats the epochs of the first case"}
    with every_case(data, left_out) as take:
        given = {key: spread(take(name)["outputs"][SPANS]) for key, name in REPOSITORIES.items()}
        assert factors(option("multistep")) == pytest.approx(given["vs"], rel=1e-12)  # LDAM-DRW's schedule; RIDE has the same
        assert factors(MultiStep()) == factors(option("multistep"))
        assert factors(option("ride")) == pytest.approx(given["ride"], rel=1e-12)
        assert factors(option("bbn")) == pytest.approx(given["bbn"], rel=1e-12)
        ib = MultiStep(milestones=[0.5, 0.8, 0.9], factors=[1e-2, 1e-4, 1e-6])
        assert factors(ib) == pytest.approx(given["ib"], rel=1e-12)
        metasaug = MultiStep(milestones=[0.795, 0.895], factors=[0.01, 0.0001], warmup=0.0)
        assert factors(metasaug) == pytest.approx(given["metasaug"], rel=1e-12)
        reslt = MultiStep(factors=[0.1, 0.01], warmup_start=1 / 3)
        assert factors(reslt) == pytest.approx(given["reslt"], rel=1e-12)

        paco = factors(option("paco"))
        assert given["paco"][10] == pytest.approx(1.1)  # the original's warm-up overshoots, `schedule=paco` does not
        paco[10] = given["paco"][10]
        assert paco == pytest.approx(given["paco"], rel=1e-12)

        scale = spread(take(REPOSITORIES["mislas"])["outputs"]["second parameter group"])  # the first group has 0.2 of its rate
        assert factors(Cosine(10)) == pytest.approx(scale, rel=1e-9)
        assert [0.2 * factor for factor in factors(Cosine(10))] == pytest.approx(given["mislas"], rel=1e-9)

        deferred_weights(take("LDAM-DRW DRW weights by epoch (0-based)")["outputs"], data["inputs"]["cls_num_list"])


def deferred_weights(outputs: dict[str, Any], counts: list[int]) -> None:
    """Weights are exactly 1 up to epoch 159 of 200. Epoch 319 belongs to a longer run; the original still switches at 160."""
    stats = ClassStats(torch.tensor(counts))
    labels = torch.arange(len(counts))
    recorded = {int(epoch): expected for epoch, expected in outputs["weights_by_epoch"].items()}
    assert sorted(recorded) == [0, 1, 80, 159, 160, 161, 180, 199, 319] and "IndexError" in outputs["epoch_320"]
    for epoch in [*recorded, 320]:
        epochs, start = (200, 0.8) if epoch < 200 else (400, 0.4)
        part = Deferred(EffectiveNumber(0.9999, stats=stats), start)
        part.adapt(blind_view(Clock("joint", epoch, epochs), stats))
        weights = part(torch.zeros(len(counts), len(counts)), labels, Outputs())
        expected = recorded.get(epoch, recorded[199])  # after 319 the original fails; here the weights stay
        if expected["beta"] == 0:
            assert weights.tolist() == [1.0] * len(counts) == expected["weights"]
        else:
            close(weights, expected["weights"], 1e-6)


def test_the_learning_rate_of_sade_falls_to_a_tenth_at_each_milestone() -> None:
    """RIDE's schedule with gamma 0.1 (configs/config_cifar100_ir100_sade.json)."""
    sade, ride = factors(option("sade")), factors(option("ride"))
    assert sade[:160] == ride[:160] and set(sade[160:180]) == {0.1} and set(sade[180:]) == {0.01}


def test_the_learning_rate_falls_in_the_epoch_in_which_influence_balancing_starts(golden: Golden) -> None:
    """The authors change the loss and the rate together, at epoch 100 of 200."""
    data = golden("drw_and_lr_schedules")
    (recorded,) = [case["outputs"] for case in data["cases"] if case["name"] == REPOSITORIES["ib"]]
    found = factors(option("influence_balanced"))
    assert found == pytest.approx(spread(recorded[SPANS]), rel=1e-12)
    switch = next(e for e in range(200) if at_epoch(Deferred(InverseFrequency(stats=STATS), 0.5), e).active)
    assert found[switch - 1 : switch + 1] == [1.0, 0.01]
