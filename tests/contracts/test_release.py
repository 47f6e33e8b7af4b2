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
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def test_the_citation_names_this_version() -> None:
    citation = read(ROOT / "CITATION.cff")
    assert citation["version"] == ltrun.__version__
    assert citation["license"] == SETUP["metadata"]["license"] == "MIT"
    assert citation["authors"] == [{"name": SETUP["metadata"]["author"]}]
    (survey,) = citation["references"]
    assert survey["identifiers"] == [{"type": "other", "value": "arXiv:2110.04596"}]


def test_the_changelog_has_a_section_for_this_version() -> None:
    assert re.search(
        rf"^## {re.escape(ltrun.__version__)}\b", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )


def test_ci_tests_the_python_versions_of_the_metadata() -> None:
    oldest, beyond = (int(minor) for minor in re.findall(r"3\.(\d+)", SETUP["options"]["python_requires"]))
    pythons = [f"3.{minor}" for minor in range(oldest, beyond)]
    assert re.findall(r"Python :: (3\.\d+)", SETUP["metadata"]["classifiers"]) == pythons
    (workflow,) = WORKFLOWS
    assert read(workflow)["jobs"]["test"]["strategy"]["matrix"]["python"] == pythons


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_has_read_permissions_timeouts_and_steps_of_make(path: Path) -> None:
    workflow = read(path)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert workflow["permissions"] == {"contents": "read"} and workflow["concurrency"]["cancel-in-progress"] is True
    for job in workflow["jobs"].values():
        assert "permissions" not in job and 0 < job["timeout-minutes"] <= 90
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", step["uses"])
            else:
                command, target, *_ = step["run"].split()
                assert command == "make" and target in targets


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_unique_ids_and_labels(path: Path) -> None:
    form = read(path)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {"name", "description", "body"} <= form.keys()
    assert len({field["id"] for field in fields}) == len(fields) == len({field["attributes"]["label"] for field in fields})
    assert any(field.get("validations", {}).get("required") for field in fields)


def test_make_help_lists_every_phony_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = set(re.findall(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[0].split())
    plain = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}
    shown = subprocess.run(["make", "help"], cwd=ROOT, env=plain, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"make ([a-z]+)\t", shown)) == phony
