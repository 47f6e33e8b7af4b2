"""Provenance of a record: versions, date and commit, but no name of a machine or user."""

import json
import re
import subprocess
from pathlib import Path

from ltrun.results.provenance import _commit, provenance


def test_provenance_names_versions_and_commit_but_no_machine() -> None:
    import getpass
    import socket

    found = provenance()
    assert {"ltrun", "python", "torch", "numpy"} <= found["versions"].keys()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", found["date"])
    values = json.dumps(found)
    assert f'"{socket.gethostname()}"' not in values
    assert f'"{getpass.getuser()}"' not in values


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_only_a_checkout_has_a_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "ltrun").mkdir()
    (tmp_path / "ltrun" / "a.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "one")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert _commit(tmp_path.resolve()) == {"commit": commit, "dirty": False}
    (tmp_path / "ltrun" / "a.py").write_text("2")
    assert _commit(tmp_path.resolve()) == {"commit": commit, "dirty": True}
    assert _commit((tmp_path / "ltrun").resolve()) == {}  # a folder inside another repository has no commit
