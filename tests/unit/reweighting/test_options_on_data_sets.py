"""Options of several labels on VOC-LT and COCO-LT: the numbers of the distribution-balanced loss's configurations."""

from collections.abc import Iterator

import pytest

from ltrun.config.compose import compose_job, hydra_ready
from ltrun.recipe.read import recipe_of
from ltrun.recipe.stage import Stage

MU = {"voc_lt": 0.3, "coco_lt": 0.2}
SCALE = {"voc_lt": 5.0, "coco_lt": 2.0}


@pytest.fixture(scope="module", autouse=True)
def _hydra() -> Iterator[None]:
    with hydra_ready():
        yield


def stage_of(method: str, dataset: str) -> Stage:
    """Returns the only stage of a preset; reading it refuses parts that cannot use several labels, and warns of nothing."""
    job = compose_job([f"method={method}", f"dataset={dataset}"])
    recipe = recipe_of(job.config, job.choices)
    assert not recipe.warnings
    (stage,) = recipe.stages
    return stage


@pytest.mark.parametrize("dataset", MU)
def test_distribution_balanced_focal_has_the_numbers_of_its_data_set(dataset: str) -> None:
    stage = stage_of("distribution_balanced_focal", dataset)
    rebalanced, tolerant = stage.weighs
    assert dict(rebalanced.arguments) == {"alpha": 0.1, "beta": 10.0, "mu": MU[dataset]}
    (adjust,) = stage.adjusts
    assert dict(adjust.arguments) == {"kappa": 0.05, "negative_scale": SCALE[dataset]}
    assert dict(tolerant.arguments) == {"negative_scale": SCALE[dataset]}
    assert stage.criterion is not None
    assert (stage.criterion.arguments["gamma"], stage.criterion.arguments["balance"]) == (2.0, 2.0)


@pytest.mark.parametrize("method", ["class_balanced_focal", "asymmetric"])
def test_presets_compose_with_several_labels(method: str) -> None:
    stage = stage_of(method, "voc_lt")
    arguments = [part.arguments for part in (*stage.weighs, *([stage.criterion] if stage.criterion else []))]
    if method == "asymmetric":
        assert stage.optimizer.arguments["lr"] == 1e-4
    if "focal" in method:
        assert any((given.get("gamma"), given.get("balance")) == (2.0, 2.0) for given in arguments)
    if "class_balanced" in method:
        assert arguments[0]["beta"] == 0.9 and arguments[0]["scaled"] is False
