"""Job of a run: its configuration, the address of its result, and the jobs of its teachers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ltrun.config.settings import Settings
from ltrun.errors import DataError
from ltrun.results.address import JOB, labelled
from ltrun.results.atomic import write_atomically
from ltrun.results.folder import made
from ltrun.results.renamed import with_todays_names


@dataclass(frozen=True)
class Job:
    """One run to train. changes: differences from the method's preset on this data set, for the row's label. command: the
    words after `ltrun` that train this run alone, without force. teachers: key path -> the job that trains a teacher."""

    config: Mapping[str, Any]
    choices: Mapping[str, str]
    changes: Mapping[str, Any]
    method: str
    dataset: str
    fingerprint: str
    folder: Path
    headline: str
    command: Sequence[str] = ()
    teachers: Mapping[str, Job] = field(default_factory=dict)

    @cached_property
    def settings(self) -> Settings:
        return Settings.of(self.config)

    @property
    def seed(self) -> int:
        return self.settings.seed

    @property
    def title(self) -> str:
        return f"{labelled(self.method, self.changes)} on {self.dataset}, seed {self.seed}"

    def save(self) -> Path:
        """Writes folder/job.json, so that another process can train the job without composing it. Raises LtrunError."""
        made(self.folder)
        write_atomically(self.folder / JOB, json.dumps(self._content(), indent=1).encode() + b"\n")
        return self.folder / JOB

    def _content(self) -> dict[str, Any]:
        teachers = {path: job._content() for path, job in self.teachers.items()}
        kept = {field.name: getattr(self, field.name) for field in fields(self)}
        return kept | {"folder": str(self.folder), "teachers": teachers}

    @classmethod
    def load(cls, path: Path) -> Job:
        """Reads a job; its folder is the file's. Raises DataError for a file that `save` did not write."""
        try:
            return replace(cls._of(json.loads(path.read_text())), folder=path.parent)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"{path} cannot be read as a job ({error}): run the command of its sweep again") from None

    @classmethod
    def _of(cls, content: dict[str, Any]) -> Job:
        teachers = {path: cls._of(job) for path, job in content.pop("teachers", {}).items()}
        return cls(folder=Path(content.pop("folder")), teachers=teachers, **with_todays_names(content))
