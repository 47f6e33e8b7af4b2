"""Commands of the end-to-end tests: arguments of short runs, the environment of a process, the sentence of a refusal."""

import os
import subprocess
import sys
from collections.abc import Callable

Run = Callable[..., subprocess.CompletedProcess[str]]
PROGRAM = [sys.executable, "-m", "ltrun"]
SHORT = ("dataset=digits_lt", "epochs=3", "evaluation.every=2", "runtime.checkpoint_seconds=0")


def environment(**more: str) -> dict[str, str]:
    """Returns an environment with one thread, 200 columns, and no LTRUN_ variables but LTRUN_CACHE."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("LTRUN_") or k == "LTRUN_CACHE"}
    return inherited | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | more


def refused(done: subprocess.CompletedProcess[str]) -> str:
    """Returns the sentence of a refusal; fails unless ltrun exited with 1 and printed no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("ltrun: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]
