"""Learning-rate schedules in stages of any length: a rate for every epoch, milestones that scale with the stage."""

from collections.abc import Callable

import pytest

from ltrun.errors import ConfigError
from ltrun.optimizer import SGD
from ltrun.schedule.cosine import Cosine
from ltrun.schedule.multistep import MultiStep
from ltrun.types import Clock

SCHEDULES: dict[str, MultiStep | Cosine] = {
    "multistep": MultiStep(),
    "cosine": Cosine(),
    "cosine with warm-up": Cosine(warmup=0.1, warmup_start=0.5),
}


def factors(schedule: MultiStep | Cosine, epochs: int) -> list[float]:
    return [schedule.factor(Clock("joint", epoch, epochs)) for epoch in range(epochs)]


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("epochs", [1, 2, 3, 5, 10, 40, 200, 1000])
def test_every_epoch_has_a_rate_in_stages_of_any_length(name: str, epochs: int) -> None:
    values = factors(SCHEDULES[name], epochs)
    assert all(0 < value <= 1 for value in values)
    assert max(values) == 1.0
    top = values.index(1.0)
    assert values[:top] == sorted(values[:top]) and values[top:] == sorted(values[top:], reverse=True)


def test_milestones_that_coincide_in_a_short_run_move_back_or_drop_out() -> None:
    """0.8 and 0.9 of 3 epochs are both epoch 2: at the later factor, the last epoch would hardly train."""
    assert factors(MultiStep(), 1) == [1.0]
    assert factors(MultiStep(), 2) == [1.0, 0.01]
    assert factors(MultiStep(), 3) == [1.0, 1.0, 0.01]
    assert factors(MultiStep(), 5) == [1.0, 1.0, 1.0, 1.0, 0.01]
    assert factors(MultiStep(), 10) == [1.0] * 8 + [0.01, 0.0001]
    assert factors(Cosine(warmup=0.4), 1) == [1.0]


def test_cosine_begins_where_the_warm_up_ends() -> None:
    assert factors(Cosine(warmup=0.2), 10) == [0.5, 1.0, *factors(Cosine(), 8)]


def test_milestones_scale_with_the_length_of_the_stage() -> None:
    """Code that descends from LDAM-DRW hard-codes epochs 160 and 180, whatever --epochs says."""
    for epochs in (20, 100, 400):
        values = factors(MultiStep(), epochs)
        assert values.index(0.01) == 0.8 * epochs and values.index(0.0001) == 0.9 * epochs


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: MultiStep(epochs=0), "epochs"),
        (lambda: MultiStep(factors=[0.1]), "factors"),
        (lambda: MultiStep(factors=[0.1, -0.1]), "factors"),
        (lambda: MultiStep(milestones=[160, 180]), "milestones"),
        (lambda: MultiStep(milestones=[0.9, 0.8]), "milestones"),
        (lambda: MultiStep(warmup=5), "warmup"),
        (lambda: Cosine(epochs=0), "epochs"),
        (lambda: Cosine(warmup_start=2.0), "warmup_start"),
        (lambda: SGD(lr=0.0), "lr"),
        (lambda: SGD(momentum=1.0), "momentum"),
        (lambda: SGD(weight_decay=-1e-4), "weight_decay"),
        (lambda: SGD(momentum=0.0, nesterov=True), "nesterov"),
    ],
)
def test_a_senseless_value_is_refused_by_name(make: Callable[[], object], argument: str) -> None:
    with pytest.raises(ConfigError, match=f"^{argument} "):
        make()


def test_a_warm_up_by_steps_is_mmcvs() -> None:
    """Linear over 500 of 976 steps from a third, as the distribution-balanced loss trains on VOC-LT: 8 epochs of 122 steps."""
    schedule = MultiStep(
        8, milestones=[0.625, 0.875], factors=[0.1, 0.01], warmup=500 / 976, warmup_start=1 / 3, warmup_by="step"
    )
    found = [schedule.factor(Clock("train", step // 122, 8, step % 122 / 122)) for step in range(976)]
    warm = [1 - (1 - step / 500) * (1 - 1 / 3) for step in range(500)]
    assert found[:500] == pytest.approx(warm)
    assert found[500:] == [1.0] * 110 + [0.1] * 244 + [0.01] * 122
    assert schedule.factor(Clock("train", 0, 8)) == pytest.approx(1 / 3)


def test_epochs_that_warm_up_by_themselves_are_as_ever() -> None:
    clocks = [Clock("train", 2, 200, within) for within in (0.0, 0.5, 0.99)]
    assert {MultiStep().factor(clock) for clock in clocks} == {0.6}
