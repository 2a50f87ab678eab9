"""One visit of a page in a browser finds everything that the tests of the site ask about it."""

import contextlib
import re

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

# What the theme leaves and cannot be repaired from outside.
THEME_RULES = ["label-content-name-mismatch", "region"]
# What a visit looks for; each is a list of faults, empty where there is none.
ASPECTS = (
    "external requests",
    "errors",
    "formulas in error or not typeset",
    "images without caption or alt text",
    "code that needs sideways scrolling",
    *(f"accessibility in {scheme}" for scheme in ("light", "dark")),
    "fit on a phone",
)

FORMULAS = """async () => {
    await window.MathJax?.startup?.promise;
    const texts = selector => [...document.querySelectorAll(selector)].map(e => e.textContent);
    const raw = texts(".math:not(:has(mjx-container))").map(text => `not typeset: ${text}`);
    return [...texts("mjx-merror"), ...raw];
}"""
IMAGES = """() => [...document.querySelectorAll("article img")].map(image => {
    const figure = image.closest("figure"), found = [];
    if ((image.getAttribute("alt") ?? "").length <= 30) found.push("no alt text of 31 characters");
    if (image.naturalWidth === 0) found.push("nothing to see");
    if (!figure) found.push("not in a figure");
    else if (!figure.querySelector("figcaption")) found.push("no caption");
    return found.length ? `${image.getAttribute("src")}: ${found.join(", ")}` : null;
}).filter(Boolean)"""
WIDE_CODE = """() => [...document.querySelectorAll("article div.highlight pre")]
    .filter(code => code.scrollWidth > code.clientWidth + 1)
    .map(code => code.innerText.slice(0, 200))"""
WIDE_ON_A_PHONE = """() => {
    const width = document.documentElement.scrollWidth;
    const formulas = [...document.querySelectorAll("mjx-container[display=true]")]
        .filter(formula => formula.scrollWidth > formula.clientWidth + 1)
        .map(formula => `wide formula: ${formula.parentElement.id || formula.textContent}`);
    return width > 390 ? [`the page is ${width} px wide`, ...formulas] : formulas;
}"""
OPEN_ALL = "document.querySelectorAll('details').forEach(details => { details.open = true; })"
SETTLED = """scheme => {
    const colour = getComputedStyle(document.body).backgroundColor.match(/[0-9.]+/g).map(Number);
    const brightness = (colour[0] + colour[1] + colour[2]) / 3;
    const moving = document.getAnimations().filter(a => a.playState === "running");
    return brightness > 128 === (scheme === "light") && moving.length === 0;
}"""
# axe compares the colours of each element that holds text, thousands on a page, in some hundred
# looks. Of those that look the same in the same surroundings, the three longest stay visible for
# the rules on colours: axe passes over what is hidden. (It does not judge signs and single
# characters.)
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
THREE_OF_A_LOOK = """() => {
    const looks = new Map();
    for (const leaf of document.querySelectorAll("body *:not(:has(*))")) {
        if (!leaf.textContent.trim()) continue;
        const surroundings = [];
        for (let e = leaf; e; e = e.parentElement) {
            const style = getComputedStyle(e);
            surroundings.push(e.tagName, e.className, style.color, style.backgroundColor,
                style.backgroundImage, style.opacity, style.fontSize, style.fontWeight);
        }
        const look = surroundings.join();
        if (looks.has(look)) looks.get(look).push(leaf);
        else looks.set(look, [leaf]);
    }
    for (const leaves of looks.values()) {
        const length = ({ textContent: text }) => /[\\p{L}\\p{N}]/u.test(text) ? text.length : 0;
        leaves.sort((a, b) => length(b) - length(a));
        for (const leaf of leaves.slice(3)) {
            leaf.style.visibility = "hidden";
            leaf.dataset.hidden = "";
        }
    }
}"""
SHOWN_AGAIN = """() => document.querySelectorAll("[data-hidden]").forEach(leaf => {
    leaf.style.visibility = "";
    delete leaf.dataset.hidden;
})"""


def visit(browser: Browser, url: str) -> dict[str, list[str]]:
    """Load a page once and return its faults, by the names in `ASPECTS`.

    The page is loaded 1280 px wide in light colours, then told that the system has turned dark,
    and last made 390 px wide.
    """
    external, errors, found = [], [], {}
    context = browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme="light", reduced_motion="reduce"
    )
    page = context.new_page()
    listen(page, url, external, errors)
    page.goto(url)
    found["formulas in error or not typeset"] = page.evaluate(FORMULAS)
    found["images without caption or alt text"] = page.evaluate(IMAGES)
    page.evaluate(OPEN_ALL)
    found["code that needs sideways scrolling"] = page.evaluate(WIDE_CODE)
    page.set_viewport_size({"width": 390, "height": 844})
    found["fit on a phone"] = page.evaluate(WIDE_ON_A_PHONE)
    page.set_viewport_size({"width": 1280, "height": 900})
    for scheme in ("dark", "light"):
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(SETTLED, arg=scheme)
        if scheme == "dark":  # what follows includes the requests of axe, which reads style sheets
            page.wait_for_load_state("networkidle")
            found["external requests"], found["errors"] = list(external), list(errors)
        found[f"accessibility in {scheme}"] = accessibility(page)
    context.close()
    return found


@contextlib.contextmanager
def opened(browser: Browser, url: str):
    """Open a page 1280 px wide that must stay free of errors and of requests to elsewhere."""
    external, errors = [], []
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    listen(page, url, external, errors)
    page.goto(url)
    yield page
    page.close()
    assert external == []
    assert errors == []


def listen(page: Page, url: str, external: list[str], errors: list[str]) -> None:
    """Note the requests of a page that leave its site, and its errors, as they happen."""
    here = (re.match(r"\w+://[^/]+/", url).group(), "data:", "blob:")
    page.on("request", lambda r: None if r.url.startswith(here) else external.append(r.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("response", lambda r: errors.append(f"{r.status} {r.url}") if r.status >= 400 else None)


def accessibility(page: Page) -> list[str]:
    """Return what axe finds on a page as it is now, but for the rules that the theme breaks."""
    without = {rule: {"enabled": False} for rule in (*COLOUR_RULES, *THEME_RULES)}
    rules = violations(page, rules=without)
    page.evaluate(THREE_OF_A_LOOK)
    rules += violations(page, runOnly=COLOUR_RULES)
    page.evaluate(SHOWN_AGAIN)
    return [
        f"{rule['id']} ({rule['help']}): {node['html'][:160]}: {node['failureSummary']}"
        for rule in rules
        for node in rule["nodes"]
    ]


def violations(page: Page, **options: object) -> list[dict]:
    """Return the rules of axe that a page breaks, of those that the options leave."""
    return (
        Axe().run(page, options={"resultTypes": ["violations"], **options}).response["violations"]
    )


def drawn(page: Page, figure: str, stroke: str, theme: str, width: int) -> tuple[dict, float]:
    """Return the box of a figure, and by how much the brightness of a stroke is off the page's."""
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=theme)
    page.wait_for_function(SETTLED, arg=theme)
    colours = page.evaluate(
        """stroke => [getComputedStyle(document.querySelector(stroke)).stroke,
                      getComputedStyle(document.body).backgroundColor]""",
        stroke,
    )
    line, ground = (sum(float(v) for v in c[4:-1].split(",")[:3]) / 3 for c in colours)
    return page.locator(figure).bounding_box(), abs(line - ground)
