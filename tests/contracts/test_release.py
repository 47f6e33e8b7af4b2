"""Facts of a release that several files state: version, Python versions, targets of CI, citation."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

import ltrun
from tests.support.tree import ROOT

SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.y*ml") if path.stem != "config")
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise AssertionError(f"{path.relative_to(ROOT)} is no YAML, which GitHub would ignore: {error}") from None


def test_the_citation_names_this_version() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == ltrun.__version__, "CITATION.cff and ltrun/__init__.py have one version: docs/releasing.md, 3"
    assert citation["license"] == SETUP["metadata"]["license"] == "MIT"
    assert citation["authors"] == [{"name": SETUP["metadata"]["author"]}]
    (survey,) = citation["references"]
    assert survey["identifiers"] == [{"type": "other", "value": "arXiv:2110.04596"}]


def test_the_changelog_has_a_section_for_this_version() -> None:
    heading = rf"^## {re.escape(ltrun.__version__)}\b"
    found = re.search(heading, (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert found, f"CHANGELOG.md has no heading `## {ltrun.__version__}, YYYY-MM-DD`: docs/releasing.md, 4"


def test_ci_tests_the_python_versions_of_the_metadata() -> None:
    oldest, beyond = (int(minor) for minor in re.findall(r"3\.(\d+)", SETUP["options"]["python_requires"]))
    pythons = [f"3.{minor}" for minor in range(oldest, beyond)]
    classifiers = re.findall(r"Python :: (3\.\d+)", SETUP["metadata"]["classifiers"])
    assert classifiers == pythons, "setup.cfg: the classifiers are not the Pythons of python_requires"
    tested = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tested == pythons, ".github/workflows/ci.yml does not test the Pythons of python_requires in setup.cfg"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_read_permissions_timeouts_and_steps_of_make(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}, f"{path.name}: `permissions` is to be `contents: read`"
    assert workflow["concurrency"]["cancel-in-progress"] is True
    for name, job in workflow["jobs"].items():
        where = f"{path.name}, job {name}"
        assert "permissions" not in job, f"{where}: the permissions of the workflow are enough"
        assert 0 < job.get("timeout-minutes", 0) <= 90, f"{where}: `timeout-minutes` is to be from 1 to 90"
        for step in job["steps"]:
            if action := step.get("uses"):
                assert re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", action), f"{where}: {action} names no whole version"
            else:
                words = str(step["run"]).split()
                assert words[0] == "make" and words[1] in TARGETS, f"{where}: `{step['run']}` runs no target of the Makefile"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_unique_ids_and_labels(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= form.keys()
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert len({field["id"] for field in fields}) == len(fields) == len({field["attributes"]["label"] for field in fields})
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_make_help_lists_every_phony_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    shown = subprocess.run(["make", "help"], cwd=ROOT, env=plain, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"make ([a-z-]+)\t", shown)) == phony, "Makefile: each target of .PHONY has `## what it does`"
