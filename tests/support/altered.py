"""Records of real runs after a change by hand, or of an earlier format."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ltrun.results.address import fingerprint

Change = Callable[[dict[str, Any]], object]


def changed(file: Path, change: Change, refile: bool = True) -> Path:
    """The record after a change, filed under the fingerprint that its configuration then has."""
    content = json.loads(file.read_text())
    change(content)
    if refile:
        content["fingerprint"] = fingerprint(content["config"])
    file.write_text(json.dumps(content))
    return file


def as_format_2(content: dict[str, Any]) -> None:
    content["format"] = 2
    del content["command"], content["data"]
