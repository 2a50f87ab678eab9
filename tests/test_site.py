"""The built site in a browser: no external request, and what a reader uses works."""

import re
from urllib.parse import quote

import nbformat
import pytest
from conftest import ROOT, SITE
from visits import ASPECTS, visit

pytestmark = pytest.mark.slow

GUIDE = ROOT / "chapters" / "17_field_guide.ipynb"
PAGES = sorted(
    str(path.relative_to(SITE))
    for path in [*SITE.glob("*.html"), *SITE.glob("chapters/*.html")]
    if path.name not in {"genindex.html", "search.html", "py-modindex.html"}
)
CHAPTERS = [page for page in PAGES if page.startswith("chapters/")]

if not PAGES:
    pytest.skip("the site is not built: run make book", allow_module_level=True)


def article(html):
    """Return what stands between a page's navigation and its footer."""
    return html.partition("<article")[2].partition("</article>")[0]


@pytest.mark.parametrize("name", PAGES)
def test_page_has_no_fault(browser, site_url, name):
    # One test for all aspects, or two workers would load a page whose tests they share.
    assert visit(browser, f"{site_url}/{name}") == {aspect: [] for aspect in ASPECTS}


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_stored_path_or_glue_is_left_unresolved(name):
    text = re.sub(r"<script.*?</script>", "", (SITE / name).read_text(encoding="utf-8"), flags=re.S)
    assert str(ROOT) not in text
    assert "{glue" not in text
    assert '<a class="reference external" href="file:' not in text


def test_links_between_chapters_lead_both_ways():
    links = {
        name: set(re.findall(r'href="(\d\d_\w+\.html)', article((SITE / name).read_text())))
        for name in CHAPTERS
    }
    for name, targets in links.items():
        here = name.removeprefix("chapters/")
        for target in targets - {here}:
            assert here in links[f"chapters/{target}"], f"{target} does not lead back to {here}"


def test_copy_button_copies_a_whole_cell(page, site_url):
    page.goto(f"{site_url}/{CHAPTERS[0]}")
    page.locator("div.cell_input div.highlight").first.hover()
    page.locator("div.cell_input button.copybtn").first.click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "import pymc as pm" in copied
    assert copied.splitlines()[0].startswith("import")


def test_search_finds_a_word_of_a_chapter(page, site_url):
    page.goto(f"{site_url}/search.html?q=logp_normal")
    page.locator("#search-results li a").first.wait_for(timeout=10_000)
    links = page.locator("#search-results li a").evaluate_all("all => all.map(a => a.href)")
    assert any("01_forum_question" in link for link in links)


def messages():
    """Return the error messages that the field guide lists."""
    text = "".join(nbformat.read(GUIDE, as_version=4).cells[0].source)
    table = text.partition("### By message")[2].partition("###")[0]
    found = [line[4:] for line in table.splitlines() if line.startswith("* - ")][1:]
    return [re.sub("[`…]", " ", message).strip() for message in found]


def test_search_finds_the_field_guide_by_every_message(page, site_url):
    assert len(messages()) >= 9
    for message in messages():
        page.goto(f"{site_url}/search.html?q={quote(message)}")
        page.locator(f"#search-results a[href*='{GUIDE.stem}']").first.wait_for(state="attached")


def test_dark_mode_follows_the_system_and_the_switch(page, site_url):
    page.emulate_media(color_scheme="dark")
    page.goto(f"{site_url}/index.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for _ in range(3):
        page.locator("button.theme-switch-button").first.click()
        if page.evaluate("document.documentElement.dataset.theme") == "light":
            break
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_solutions_open_on_a_click(page, site_url):
    page.goto(f"{site_url}/{CHAPTERS[0]}")
    solution = page.locator("div.solution.dropdown, details.solution").first
    button = solution.locator("button.toggle-button, summary").first
    hidden = solution.locator(".solution-content, section").first
    assert not hidden.is_visible()
    button.click()
    assert hidden.is_visible()
