"""What became of a job."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path

from ltrun.config.compose import Job
from ltrun.engine.progress import Progress
from ltrun.errors import LtrunError


@dataclass(frozen=True)
class Outcome:
    """What became of a job. folder: empty where it has no address. failure: why it has no result."""

    title: str
    folder: str
    failure: str | None = None


def attempt(job: Job, progress: Progress, at_once: int = 1) -> str | None:
    """Trains. Returns why there is no result, or None."""
    try:
        from ltrun.engine.run import run

        run(job, progress, at_once)
    except LtrunError as error:
        return str(error)
    except Exception as error:
        return f"{type(error).__name__}: {error} (a defect of ltrun or of a part; {_keep_traceback(job.folder)})"
    return None


def _keep_traceback(folder: Path) -> str:
    if not folder.is_dir():
        return traceback.format_exc()
    path = folder / "error.log"
    path.write_text(traceback.format_exc())
    return f"the traceback is in {path}"
