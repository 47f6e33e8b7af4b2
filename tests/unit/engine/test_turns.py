"""Turns of several runs in one process: each run computes the same as alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ltrun.engine.turns import Turns, released, yield_turn
from tests.support.cases import bound, composed, differing, small, snapshot, trainer


def together(*runs: Callable[[], None]) -> None:
    """Runs each function in a thread that takes turns, and raises the first error of a thread."""
    turns, errors = Turns(), list[BaseException]()

    def lane(run: Callable[[], None]) -> None:
        with turns.taken_by_a_run():
            try:
                run()
            except BaseException as error:
                errors.append(error)

    threads = [threading.Thread(target=lane, args=(run,)) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error


def test_one_run_works_at_a_time_and_turns_go_round() -> None:
    order: list[int] = []
    inside: list[int] = []
    all_there = threading.Barrier(3)

    def run(number: int) -> Callable[[], None]:
        def steps() -> None:
            with released():
                all_there.wait()
            for _ in range(50):
                inside.append(number)
                assert inside == [number]
                order.append(number)
                inside.clear()
                yield_turn()

        return steps

    together(run(0), run(1), run(2))
    assert len(order) == 150
    begun = max(order.index(number) for number in range(3))
    over = min(149 - order[::-1].index(number) for number in range(3))  # the first run to end takes its last step here
    rounds = [order[i : i + 3] for i in range(begun, over - 2, 3)]
    assert all(sorted(one) == [0, 1, 2] for one in rounds), "turns go round"


def test_each_run_has_its_own_random_numbers_and_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", torch.backends.cudnn.allow_tf32)  # restored afterwards
    found: dict[int, list[Tensor]] = {0: [], 1: []}

    def run(number: int) -> Callable[[], None]:
        def draw() -> None:
            torch.manual_seed(number)
            torch.backends.cudnn.allow_tf32 = bool(number)
            for _ in range(20):
                yield_turn()
                found[number].append(torch.rand(3))
                assert torch.backends.cudnn.allow_tf32 == bool(number)

        return draw

    together(run(0), run(1))
    for number, drawn in found.items():
        alone = torch.Generator().manual_seed(number)
        assert torch.equal(torch.stack(drawn), torch.stack([torch.rand(3, generator=alone) for _ in range(20)]))


class Generator:
    """Stands in for a CUDA generator of torch: a handle on a state that other handles may share."""

    def __init__(self, state: list[int]) -> None:
        self.state = state

    def graphsafe_get_state(self) -> Generator:
        return Generator(self.state)

    def graphsafe_set_state(self, other: Generator) -> None:
        self.state = other.state

    def clone_state(self) -> Generator:
        return Generator(list(self.state))


def test_states_of_device_generators_are_handed_over_and_not_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A captured graph keeps drawing from the state of its capture."""
    default, in_use = Generator([0]), list[Generator]()
    monkeypatch.setattr("ltrun.engine.turns.generators", lambda: tuple(in_use))
    captured: dict[int, list[int]] = {}

    def run(number: int) -> Callable[[], None]:
        def steps() -> None:
            in_use[:] = [default]  # CUDA is initialised by the first run that has its turn
            default.state[0] = 100 * number
            captured[number] = default.state
            for step in range(10):
                yield_turn()
                assert default.state is captured[number] and default.state == [100 * number + step]
                default.state[0] += 1

        return steps

    together(run(1), run(2), run(3))
    assert len({id(state) for state in captured.values()}) == 3


def test_other_runs_work_while_one_is_released() -> None:
    went_on = threading.Event()

    def waits() -> None:
        with released():
            assert went_on.wait(30)

    together(waits, went_on.set)


def test_a_run_alone_keeps_its_random_state() -> None:
    state = torch.get_rng_state()
    yield_turn()
    with released():
        pass
    assert torch.equal(state, torch.get_rng_state())


def test_an_error_ends_one_run_and_the_others_go_on() -> None:
    done: list[int] = []

    def fails() -> None:
        yield_turn()
        raise ValueError("one")

    def goes_on() -> None:
        for step in range(10):
            yield_turn()
            done.append(step)

    with pytest.raises(ValueError, match="one"):
        together(fails, goes_on, goes_on)
    assert len(done) == 20


def test_different_methods_that_take_turns_train_to_the_same_bits_as_alone(tmp_path: Path) -> None:
    """The methods sample, mix, read further streams, keep momentum twins or have stages; all draw random numbers."""
    methods = ["cmo", "crt", "paco", "meta_weight_net"]

    def train(method: str, where: str, found: dict[str, dict[str, Tensor]]) -> Callable[[], None]:
        composition = small(composed(f"method={method}"), epochs=2)

        def run() -> None:
            found[method] = snapshot(trainer(bound(composition), tmp_path / where / method, seed=len(method)).run())

        return run

    alone: dict[str, dict[str, Tensor]] = {}
    mixed: dict[str, dict[str, Tensor]] = {}
    for method in methods:
        train(method, "alone", alone)()
    together(*(train(method, "mixed", mixed) for method in methods))
    for method in methods:
        assert not differing(mixed[method], alone[method]), method
