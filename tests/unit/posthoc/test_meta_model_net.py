"""MetaModelNet: tail classes gain from the chain, head classes keep their weights, empty classes are never predicted."""

import pytest
import torch
from torch import Tensor

from ltrun.contracts.stand_ins import Split
from ltrun.errors import ConfigError
from ltrun.posthoc import MetaModelNet, meta_model_net
from ltrun.posthoc.meta_model_net import Chain
from ltrun.types import Outputs

CLASSES, LENGTH = 41, 12
COUNTS = torch.cat([(200 * 0.01 ** (torch.arange(40) / 39)).long(), torch.zeros(1, dtype=torch.long)])
CENTRES = 0.8 * torch.randn(CLASSES, LENGTH, generator=torch.Generator().manual_seed(0))


def images(counts: torch.Tensor, seed: int) -> tuple[Outputs, torch.Tensor]:
    labels = torch.arange(CLASSES).repeat_interleave(counts)
    noise = torch.randn(len(labels), LENGTH, generator=torch.Generator().manual_seed(seed))
    noise[:, : LENGTH // 2] *= 0.3  # few images show half of the directions well and half badly, the same for all classes
    return Outputs(features=CENTRES[labels] + noise), labels


def fitted(**given: float) -> MetaModelNet:
    torch.manual_seed(0)
    part = MetaModelNet(**given, num_classes=CLASSES)  # type: ignore[arg-type]
    part.fit({"train": Split(*images(COUNTS, 1))})
    return part


def accuracy(part: MetaModelNet) -> float:
    outputs, labels = images(torch.where((COUNTS > 0) & (COUNTS < 10), 100, 0), 2)
    return float((part(outputs).argmax(1) == labels).float().mean())


def test_the_chain_helps_few_shot_classes() -> None:
    plain, moved = fitted(blocks=5, epochs=0), fitted(blocks=5)
    assert accuracy(moved) > accuracy(plain) + 0.02, (accuracy(moved), accuracy(plain))
    large = COUNTS >= 32
    torch.testing.assert_close(moved.weights[large], plain.weights[large])
    assert not torch.equal(moved.weights[~large], plain.weights[~large])


def test_regressions_of_many_classes_are_solved_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """8,142 classes with 2,048 features have gigabytes of images; the weights do not depend on the pieces."""
    expected, sizes, solve = fitted(blocks=4).weights, list[int](), meta_model_net.regressions

    def counted(own: Tensor, others: Tensor, apart: Tensor, ridge: float) -> Tensor:
        sizes.append(own.numel())
        return solve(own, others, apart, ridge)

    monkeypatch.setattr(meta_model_net, "regressions", counted)
    monkeypatch.setattr(meta_model_net, "AT_ONCE", 1000)
    torch.testing.assert_close(fitted(blocks=4).weights, expected, rtol=1e-4, atol=1e-5)
    assert max(sizes) <= 1000 and len(sizes) > 10


def test_a_class_without_images_is_never_predicted() -> None:
    part = fitted(blocks=2)
    scores = part(Outputs(features=10 * torch.randn(50, LENGTH)))
    assert (scores.argmax(1) != CLASSES - 1).all() and scores.isfinite().all()


def test_a_row_enters_the_chain_at_its_own_block() -> None:
    chain = Chain(3, 2)
    for block in chain.blocks:
        torch.nn.init.ones_(block[2].bias)  # type: ignore[index]
    weights = torch.randn(4, 3)
    moved = chain(weights, torch.tensor([0, 1, 2, 9])) - weights
    torch.testing.assert_close(moved, torch.tensor([2.0, 1, 0, 0])[:, None].expand(4, 3))


@pytest.mark.parametrize(("name", "value"), [("blocks", 0), ("blocks", 11), ("draws", 0), ("ridge", 0.0), ("epochs", -1)])
def test_values_without_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=name):
        MetaModelNet(**{name: value}, num_classes=3)  # type: ignore[arg-type]
