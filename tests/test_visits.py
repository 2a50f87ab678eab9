"""A visit of a page finds each kind of fault that it looks for, and none on a page without."""

import pytest
from visits import ASPECTS, visit

pytestmark = pytest.mark.slow

PICTURE = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
FIGURE = f"""<figure><img src="{PICTURE}" alt="A picture of one point, which says nothing at all">
<figcaption>A point.</figcaption></figure>"""
LIGHT, NIGHT = "accessibility in light", "accessibility in dark"
ALT = "images without caption or alt text"
CODE = """<div class="highlight"><pre><span class="k">for</span> <span class="n">i</span>
<span class="o">==</span> <span class="n">word</span></pre></div>"""

# As in the book, colours follow the system, slowly, and formulas are typeset late.
PAGE = """<!doctype html><html lang="en"><head><title>Page</title><link rel="icon" href="data:,">
<style>
body {{ color: #111; background: #fff; transition: color 0.4s, background-color 0.4s; }}
figure {{ margin: 0; }}
@media (prefers-color-scheme: dark) {{ body {{ color: #eee; background: #121212; }} }}
</style>
<script>
window.MathJax = {{ startup: {{ promise: new Promise(done => addEventListener("load", () => {{
    document.querySelectorAll(".math:not(.raw)").forEach(formula => {{
        formula.innerHTML = formula.classList.contains("wrong")
            ? "<mjx-container><mjx-merror>Undefined control sequence</mjx-merror></mjx-container>"
            : "<mjx-container><mjx-math>x</mjx-math></mjx-container>";
    }});
    done();
}})) }} }};
</script></head><body><main><h1>Page</h1><article>
<p>Text <span class="math">\\(x\\)</span></p>{body}</article></main></body></html>"""

DARK = "@media (prefers-color-scheme: dark)"
# What is wrong, under which name a visit must report it, and a word of the report.
FAULTS = [
    ("<script>fetch('http://127.0.0.2/at-once').catch(() => 0)</script>", ASPECTS[0], "at-once"),
    (
        f"<style>{DARK} {{ hr {{ background: url(http://127.0.0.2/in-dark) }} }}</style><hr>",
        "external requests",
        "in-dark",
    ),
    ("<script>setTimeout(() => { throw Error('late'); }, 100)</script>", "errors", "late"),
    ("<script src='/missing.js'></script>", "errors", "404"),
    ("<p class='math wrong'>x</p>", "formulas in error or not typeset", "Undefined"),
    ("<p class='math raw'>x</p>", "formulas in error or not typeset", "not typeset: x"),
    (f"<figure><img src='{PICTURE}#1' alt='Short'><figcaption>1</figcaption></figure>", ALT, "#1"),
    (f"<figure><img src='{PICTURE}#2'><figcaption>2</figcaption></figure>", ALT, "#2"),
    (f"<figure><img src='{PICTURE}#3' alt='{'A long text ' * 4}'></figure>", ALT, "#3: no caption"),
    (f"<img src='{PICTURE}#4' alt='{'A long text ' * 4}'>", ALT, "#4: not in a figure"),
    (
        f"<figure><img src='/gone.png' alt='{'A long text ' * 4}'><figcaption>5</figcaption>"
        "</figure>",
        ALT,
        "gone.png: nothing to see",
    ),
    (
        f"<details><summary>Code</summary>{CODE.replace('word', 'wide' * 100)}</details>",
        "code that needs sideways scrolling",
        "widewide",
    ),
    ("<p style='color: #888'>grey</p>", LIGHT, "grey"),
    ("<button id='silent'></button>", LIGHT, "silent"),
    ("<button id='silent'></button>", NIGHT, "silent"),
    (
        f"<style>{DARK} {{ #day {{ display: none }} }}</style><button id='day'></button>",
        LIGHT,
        "day",
    ),
    (
        "<p>A sentence that goes on for long before it comes to what is "
        "<a href='#' style='color: #222; text-decoration: none'>a hidden link</a></p>",
        LIGHT,
        "hidden link",
    ),
    (
        f"<style>{DARK} {{ td.last {{ color: #555 }} }}</style>"
        f"<table>{'<tr><td>A cell like others</td></tr>' * 9}"
        "<tr><td class='last'>The last</td></tr></table>",
        NIGHT,
        "The last",
    ),
    (  # three longer ones look the same in the dark
        "<style>@media (prefers-color-scheme: light) { #faint { color: #bbb } }</style>"
        f"<ol>{'<li>A line that is longer</li>' * 3}<li id='faint'>A faint line</li></ol>",
        LIGHT,
        "faint",
    ),
    (f"<style>{DARK} {{ #dim {{ color: #555 }} }}</style><p id='dim'>twilight</p>", NIGHT, "dim"),
    (
        f"<style>{DARK} {{ #deep p {{ color: #555 }} }}</style>"
        "<details id='deep'><summary>More</summary><p>Hidden until it is opened</p></details>",
        NIGHT,
        "Hidden",
    ),
    (f"<style>{DARK} {{ span.k {{ color: #555 }} }}</style>", NIGHT, '"k"'),
    (
        f"<style>{DARK} {{ .pale .n {{ color: #555 }} }}</style>"
        f"<div class='pale'>{CODE.replace('word', 'pale')}</div>",
        NIGHT,
        "pale",
    ),
    ("<div style='width: 600px'>Wide</div>", "fit on a phone", "the page is"),
    (
        "<mjx-container display='true' style='display: block; overflow: auto'>"
        "<p style='width: 600px'>long</p></mjx-container>",
        "fit on a phone",
        "wide formula: long",
    ),
]


def visit_html(browser, body):
    """Visit the healthy page with a body added, as if it came from a server."""
    html = PAGE.format(body=FIGURE + CODE + CODE + body)
    new_context = browser.new_context

    def answered(**options):
        context = new_context(**options)
        context.route("http://book.test/*", lambda route: route.fulfill(status=404))
        context.route(
            "http://book.test/", lambda route: route.fulfill(body=html, content_type="text/html")
        )
        return context

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(browser, "new_context", answered)
        return visit(browser, "http://book.test/")


def test_a_healthy_page_has_no_fault(browser):
    assert visit_html(browser, "") == {aspect: [] for aspect in ASPECTS}


@pytest.fixture(scope="module")
def found(browser):
    """Visit a page that has all the faults."""
    return visit_html(browser, "".join(dict.fromkeys(body for body, _, _ in FAULTS)))


@pytest.mark.parametrize(("body", "aspect", "word"), FAULTS)
def test_a_fault_is_found_and_named(found, body, aspect, word):
    assert any(word in fault for fault in found[aspect])


def test_what_is_wrong_in_the_dark_is_not_reported_in_the_light(found):
    assert not any("#555" in fault for fault in found[LIGHT])
    assert sum("#555" in fault for fault in found[NIGHT]) >= 4
