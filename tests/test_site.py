"""The built site in a browser: no external request, and what a reader uses works."""

import re

import pytest
from conftest import ROOT, SITE

PAGES = sorted(
    str(path.relative_to(SITE))
    for path in [*SITE.glob("*.html"), *SITE.glob("chapters/*.html")]
    if path.name not in {"genindex.html", "search.html", "py-modindex.html"}
)
CHAPTERS = [page for page in PAGES if page.startswith("chapters/")]
# What the theme leaves and SITE measurements found not to be repairable from outside.
THEME_RULES = {"label-content-name-mismatch", "region"}

if not PAGES:
    pytest.skip("the site is not built: run make book", allow_module_level=True)


def visit(page, url):
    """Open a page and wait until it is quiet; return the requests that left this machine."""
    external, errors = [], []
    page.on(
        "request",
        lambda request: (
            external.append(request.url)
            if not request.url.startswith((url.rsplit("/", 1)[0][:17], "data:", "blob:"))
            else None
        ),
    )
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda r: errors.append(f"{r.status} {r.url}") if r.status >= 400 else None)
    page.goto(url, wait_until="networkidle")
    return external, errors


@pytest.mark.parametrize("name", PAGES)
def test_page_is_self_contained_and_free_of_errors(page, site_url, name):
    external, errors = visit(page, f"{site_url}/{name}")
    assert external == []
    assert errors == []
    # MathJax typesets all formulas: no raw TeX is left, and none is in error
    assert page.locator("mjx-merror").count() == 0
    assert page.locator(".math").count() <= page.locator("mjx-container").count()


@pytest.mark.parametrize("name", PAGES)
def test_page_fits_a_phone(page, site_url, name):
    page.set_viewport_size({"width": 390, "height": 844})
    visit(page, f"{site_url}/{name}")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    cut = page.evaluate(
        """async () => {
            await window.MathJax?.startup.promise;
            return [...document.querySelectorAll("mjx-container[display=true]")]
                .filter(formula => formula.scrollWidth > formula.clientWidth + 1)
                .map(formula => formula.parentElement.id || formula.textContent);
        }"""
    )
    assert cut == [], "formulas that need sideways scrolling"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_page_is_accessible(page, site_url, name, theme):
    axe_module = pytest.importorskip("axe_playwright_python.sync_playwright")
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    visit(page, f"{site_url}/{name}")
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.wait_for_timeout(300)  # colours fade for a moment
    axe = axe_module.Axe()
    found = axe.run(page, options={"resultTypes": ["violations"]}).response["violations"]
    left = [
        (rule["id"], [node["html"][:160] for node in rule["nodes"][:3]])
        for rule in found
        if rule["id"] not in THEME_RULES
    ]
    assert left == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_figures_have_caption_and_alt_text(page, site_url, name):
    visit(page, f"{site_url}/{name}")
    images = page.locator("article img")
    for i in range(images.count()):
        image = images.nth(i)
        assert len(image.get_attribute("alt") or "") > 30
        assert image.evaluate("i => i.naturalWidth > 0 && !!i.closest('figure')")
        assert image.evaluate("i => i.closest('figure').querySelector('figcaption') !== null")


@pytest.mark.parametrize("name", CHAPTERS)
def test_code_needs_no_sideways_scrolling(page, site_url, name):
    visit(page, f"{site_url}/{name}")
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    wide = page.evaluate(
        """[...document.querySelectorAll('article div.highlight pre')]
            .filter(p => p.scrollWidth > p.clientWidth + 1).map(p => p.innerText.slice(0, 200))"""
    )
    assert wide == []


@pytest.mark.parametrize("name", CHAPTERS)
def test_no_stored_path_or_glue_is_left_unresolved(name):
    text = re.sub(r"<script.*?</script>", "", (SITE / name).read_text(encoding="utf-8"), flags=re.S)
    assert str(ROOT) not in text
    assert "{glue" not in text
    assert '<a class="reference external" href="file:' not in text


def test_copy_button_copies_a_whole_cell(page, site_url):
    visit(page, f"{site_url}/{CHAPTERS[0]}")
    page.locator("div.cell_input div.highlight").first.hover()
    page.locator("div.cell_input button.copybtn").first.click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "import pymc as pm" in copied
    assert copied.splitlines()[0].startswith("import")


def test_search_finds_a_word_of_a_chapter(page, site_url):
    page.goto(f"{site_url}/search.html?q=logp_normal", wait_until="networkidle")
    page.locator("#search-results li a").first.wait_for(timeout=10_000)
    links = page.locator("#search-results li a").evaluate_all("all => all.map(a => a.href)")
    assert any("01_forum_question" in link for link in links)


def test_dark_mode_follows_the_system_and_the_switch(page, site_url):
    page.emulate_media(color_scheme="dark")
    visit(page, f"{site_url}/index.html")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    for _ in range(3):
        page.locator("button.theme-switch-button").first.click()
        if page.evaluate("document.documentElement.dataset.theme") == "light":
            break
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_solutions_open_on_a_click(page, site_url):
    visit(page, f"{site_url}/{CHAPTERS[0]}")
    solution = page.locator("div.solution.dropdown, details.solution").first
    button = solution.locator("button.toggle-button, summary").first
    hidden = solution.locator(".solution-content, section").first
    assert not hidden.is_visible()
    button.click()
    assert hidden.is_visible()
