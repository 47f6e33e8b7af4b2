"""Records of real runs, changed by hand or turned into an earlier format."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ltrun.results.address import fingerprint

Change = Callable[[dict[str, Any]], object]


def changed(file: Path, change: Change, refile: bool = True) -> Path:
    """Changes a record in place. refile: gives it the fingerprint of its changed configuration."""
    content = json.loads(file.read_text())
    change(content)
    if refile:
        content["fingerprint"] = fingerprint(content["config"])
    file.write_text(json.dumps(content))
    return file


def as_format_2(content: dict[str, Any]) -> None:
    content["format"] = 2
    del content["command"], content["data"]
