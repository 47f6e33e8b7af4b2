"""Pages of the documents: links, anchors, paths of the tree, code blocks, opening questions, the length of README."""

import pytest

from tests.support.documents import Page, block_faults, link_faults, pages, path_faults, unreached

PAGES = pages()
every_page = pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES])
WORDS = 900


@every_page
def test_links_lead_to_files_and_headings(page: Page) -> None:
    assert not link_faults(page)


@every_page
def test_paths_in_code_are_in_the_tree(page: Page) -> None:
    if page.name != "CHANGELOG.md":  # it names files of earlier versions
        assert not path_faults(page)


@every_page
def test_code_blocks_name_their_language_and_can_be_parsed(page: Page) -> None:
    assert not block_faults(page)


@pytest.mark.parametrize("page", [pytest.param(page, id=page.name) for page in PAGES if page.name.startswith("docs/")])
def test_a_page_begins_with_the_question_that_it_answers(page: Page) -> None:
    assert page.question(), f"{page.name}: begin the first paragraph after the title with the question that the page answers"


def test_every_page_is_reached_from_the_readme() -> None:
    assert not unreached(PAGES)


def test_the_readme_is_short() -> None:
    (readme,) = (page for page in PAGES if page.name == "README.md")
    words = len(readme.text.split())
    assert words <= WORDS, f"README.md has {words} words, and at most {WORDS} are read: move the rest to a page of docs/"
