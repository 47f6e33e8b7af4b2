"""Type narrowing of optional values and of modules reached by name; fails for another type."""

from typing import TypeVar

T = TypeVar("T")


def present(value: T | None) -> T:
    assert value is not None, "expected a value, found None"
    return value


def of_type(kind: type[T], value: object) -> T:
    assert isinstance(value, kind), f"expected {kind.__name__}, found {type(value).__name__}"
    return value
