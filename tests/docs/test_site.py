"""The site of `make docs`: all pages are in its navigation, nothing loads from elsewhere, a dead link fails the build."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import REPOSITORY, pages

pytest.importorskip("sphinx", reason="the extra `docs` is not installed")
LOADED = re.compile(
    r"""<(?:script|img|link(?! rel="canonical"))\b[^>]*?(?:src|href)="(?:https?:)?//|url\(["']?https?:|@import"""
)


def built(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    words = [
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        "-c",
        str(source / "docs" / "site"),
        str(source),
        str(site),
    ]
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, env=os.environ | {"PYTHONWARNINGS": ""})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = built(REPOSITORY, folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_sidebar_leads_to_every_page(site: Path) -> None:
    assert 'url=README.html"' in (site / "index.html").read_text()
    home = (site / "README.html").read_text()
    sidebar = home[home.index('class="sidebar-tree"') : home.index("</aside>")]
    led_to = set(re.findall(r'href="([^"#]+)\.html"', sidebar))
    assert {page.name.removesuffix(".md") for page in pages() if not page.name.startswith(".github/")} - {"README"} <= led_to


def test_pages_of_the_site_load_nothing_from_elsewhere(site: Path) -> None:
    files = [path for kind in ("html", "css") for path in site.rglob(f"*.{kind}")]
    assert len(files) > len(pages())
    assert not [path for path in files if LOADED.search(path.read_text())]


def test_the_search_finds_a_method(site: Path) -> None:
    assert re.search(r'["{,]ldam"?:', (site / "searchindex.js").read_text())


@pytest.mark.parametrize("link", ["docs/absent.md", "docs/page.md#absent", "#absent"])
def test_a_dead_link_fails_the_build(link: str, tmp_path: Path) -> None:
    """A link to a folder is no dead link: the site, which lists no folders, shows it as text."""
    shutil.copytree(REPOSITORY / "docs" / "site", tmp_path / "docs" / "site")
    (tmp_path / "docs" / "page.md").write_text("# Page\n\n## Present\n")
    (tmp_path / "README.md").write_text("# Home\n\n[page](docs/page.md#present) [folder](docs/) [file](docs/site/conf.py)\n")
    done = built(tmp_path, tmp_path / "site")
    assert done.returncode == 0, done.stderr
    (tmp_path / "README.md").write_text(f"# Home\n\n[text]({link})\n")
    done = built(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    assert "README.md:3" in done.stderr and "absent" in done.stderr
