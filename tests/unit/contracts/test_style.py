"""Contracts of the class of a part: for each a class that breaks it, and the sentence that reports it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from torch import Tensor

from ltrun.contracts import style
from ltrun.parts import Adjust, Weigh
from ltrun.types import ClassStats, Outputs
from tests.support.mypackage import sentence_of


class Plain(Adjust):
    """Leaves logits (B, C) as they are."""

    def __init__(self, gamma: float = 1.0, *, stats: ClassStats):
        super().__init__()

    def forward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits


class Silent(Adjust):
    pass


class Open(Adjust):
    def __init__(self, **anything: float):
        super().__init__()


class Positional(Adjust):
    def __init__(self, *anything: float):
        super().__init__()


class Bare(Adjust):
    def __init__(self, gamma=1.0):  # type: ignore[no-untyped-def]
        super().__init__()


class BareContext(Adjust):
    def __init__(self, *, stats):  # type: ignore[no-untyped-def]
        super().__init__()


class Behind(Adjust):
    def __init__(self, *, gamma: float = 1.0):
        super().__init__()


class Before(Adjust):
    def __init__(self, stats: ClassStats):
        super().__init__()


class Grandchild(Plain):
    """Two levels."""


class Both(Adjust, Weigh):
    """Two roles."""


class Hooked(Adjust):
    def on_epoch_start(self) -> None: ...


class Misspelt(Adjust):
    def foward(self, logits: Tensor, labels: Tensor, outputs: Outputs) -> Tensor:
        return logits


class Short(Adjust):
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:  # type: ignore[override]
        return logits


class Named(Adjust):
    def adapt(self, epoch: int) -> None: ...  # type: ignore[override]


def test_all_contracts_of_a_correct_class_hold() -> None:
    contracts = list(style.of_a_part(Plain))
    assert len(contracts) == 5
    for contract in contracts:
        contract.check()


@pytest.mark.parametrize(
    ("part", "check", "said"),
    [
        (Silent, style.has_a_docstring, "Silent has no docstring; write what the part does to the data"),
        (Open, style.arguments_are_plain, "Open takes **anything, so a misspelt key would not be refused; name each"),
        (Positional, style.arguments_are_plain, "Positional takes *anything"),
        (Bare, style.arguments_are_plain, "Bare: the argument 'gamma' has no annotation"),
        (BareContext, style.arguments_are_plain, "to check values against; write stats: ClassStats"),
        (Behind, style.arguments_are_plain, "Behind: 'gamma' stands behind the *, where ltrun injects stats, "),
        (Before, style.arguments_are_plain, "Before: 'stats' is injected by ltrun, not set in a YAML; put it behind a *"),
        (Grandchild, style.inherits_from_a_role, "Grandchild inherits from Plain; inherit from one role of ltrun.parts"),
        (Both, style.inherits_from_a_role, "Both inherits from Adjust, Weigh; inherit from one role"),
        (Hooked, style.adds_no_hook, "Hooked.on_epoch_start looks like a hook, but ltrun calls only adapt and after_step"),
        (
            Misspelt,
            style.fills_its_role,
            "Misspelt.forward is missing; define it with the arguments (self, logits, labels, outputs)",
        ),
        (
            Short,
            style.fills_its_role,
            "Short.forward takes (self, logits, labels); ltrun calls it with (self, logits, labels, outputs)",
        ),
        (Named, style.adds_no_hook, "Named.adapt takes (self, epoch); ltrun calls it with (self, view)"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_broken_rule_of_a_class_is_reported(part: type, check: Callable[[type], None], said: str) -> None:
    assert said in sentence_of(check, part)
