"""Sphinx configuration of the site: the unchanged pages of the repository, with navigation and search.

`make docs` builds the site. Its source folder is the repository, so links between README.md and docs/ need no rewriting.
"""

from pathlib import Path

from docutils.nodes import document
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

project = "ltrun"
html_title = "ltrun"

extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "benchmarks/gpu/README.md"]
exclude_patterns = [".*", "build", "data", "outputs"]
myst_heading_anchors = 4
highlight_language = "text"
pygments_style = "friendly"
pygments_dark_style = "github-dark"

html_theme = "furo"
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_extra_path = ["index.html"]
html_show_sourcelink = False
html_copy_source = False
html_show_copyright = False

# caption: pages, in the order of the navigation; unlisted pages follow under Project
NAVIGATION = {
    "Use": [
        "docs/usage",
        "docs/data",
        "docs/photos",
        "docs/augmentation",
        "docs/big_sets",
        "docs/networks",
        "docs/results",
        "docs/protocol",
        "docs/machines",
    ],
    "Methods": ["docs/methods", "docs/decisions", "docs/reproduction", "docs/log"],
    "Project": ["CONTRIBUTING", "docs/structure", "docs/benchmarks", "benchmarks/gpu/README", "docs/releasing", "CHANGELOG"],
}


def toctrees(pages: set[str]) -> str:
    """Hidden toctrees of the existing pages in MyST Markdown, one for each caption."""
    sections = {caption: [name for name in names if name in pages] for caption, names in NAVIGATION.items()}
    listed = {name for names in sections.values() for name in names}
    sections["Project"] += sorted(pages - listed - {root_doc})
    return "".join(
        "\n```{toctree}\n:hidden:\n:caption: " + caption + "\n\n" + "\n".join(names) + "\n```\n"
        for caption, names in sections.items()
    )


def add_navigation(app: Sphinx, name: str, source: list[str]) -> None:
    """Appends the navigation to the home page; the file README.md stays free of toctrees."""
    if name == root_doc:
        source[0] += toctrees(set(app.env.found_docs))


def unlink_folders(app: Sphinx, page: document) -> None:
    """Turns links to folders of the repository into text: a site lists no folders. MyST itself copies linked files."""
    for link in list(page.findall(pending_xref)):
        folder = Path(str(page["source"])).parent / link["reftarget"]
        if link["reftype"] == "myst" and folder.is_dir():
            link.replace_self(link.children)


def setup(app: Sphinx) -> None:
    app.connect("source-read", add_navigation)
    app.connect("doctree-read", unlink_folders)
