"""Tasks in a child process: one that raises, dies or hangs takes no other with it."""

import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gpu.isolated import Child, Row


def handler(argument: str) -> Callable[[str], Row]:
    done: list[str] = []

    def call(task: str) -> Row:
        done.append(task)
        match task:
            case "raise":
                raise ValueError("a reason")
            case "device":
                raise RuntimeError("CUDA error: an illegal memory access")
            case "die":
                os._exit(7)
            case "hang":
                time.sleep(600)
        return {"argument": argument, "done": len(done)}

    return call


@pytest.fixture
def child() -> Iterator[Any]:
    child = Child(handler, "given")
    yield child
    child.close()


def test_a_task_that_raises_leaves_the_process_to_the_others(child: Child, capfd: pytest.CaptureFixture[str]) -> None:
    assert child("raise", 60) == {"error": "ValueError: a reason"}
    assert child("work", 60) == {"argument": "given", "done": 2}
    assert "Traceback" in capfd.readouterr().err


def test_after_a_death_a_hang_or_an_error_of_the_device_others_get_a_new_process(child: Child) -> None:
    assert child("die", 60) == {"error": "its process ended with exit code 7"}
    assert child("work", 60)["done"] == 1
    assert child("hang", 0.5) == {"error": "no answer after 0 s"}
    assert child("work", 60)["done"] == 1
    assert child("device", 60) == {"error": "RuntimeError: CUDA error: an illegal memory access"}
    assert child("work", 60)["done"] == 1
