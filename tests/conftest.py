"""Fixtures for the tests of the built site."""

import functools
import http.server
import shutil
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"

# What to do when a test of a file fails; the others say it themselves.
ADVICE = {
    "test_notebooks.py": "make execute stores chapters anew whose code or data changed; make "
    "tolerances CHAPTERS=<name> measures by how much the numbers of one may differ.",
    "test_mutants.py": "Bring tests/mutants/<chapter>.toml up to date with the chapter's code.",
    "test_appendix.py": "make book builds the appendix; make mutants and make sweep store what it "
    "shows.",
    "test_site.py": "make book, then open the page in a browser: light, dark, 390 px wide.",
    "test_explorable_mode_seeking.py": "make book, then try chapter 8 in a browser.",
    "test_explorable_overlap.py": "make book, then try chapter 10 in a browser.",
    "test_explorable_cure.py": "make book, then try the page which_cure in a browser.",
    "test_judges.py": "A helper of a chapter lets a fault pass that it exists to catch: sharpen "
    "it there.",
    "test_posteriordb.py": "Compare with make posteriordb, which has more draws.",
    "test_readme_code.py": "Run the code of README.md or index.md in a fresh Python.",
}


def pytest_terminal_summary(terminalreporter):
    """Say what to do next, once for each file of which a test failed."""
    failed = [
        report.nodeid.partition("::")[0].rpartition("/")[2]
        for key in ("failed", "error")
        for report in terminalreporter.stats.get(key, [])
    ]
    for name in dict.fromkeys(failed):
        if name in ADVICE:
            terminalreporter.write_line(f"{name}: {ADVICE[name]}")


@pytest.fixture(scope="session")
def site_url():
    """Serve the built site on this machine and give its address."""
    if not (SITE / "index.html").is_file():
        pytest.skip("the site is not built: run make book")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    handler = functools.partial(Quiet, directory=str(SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def browser():
    """Start Debian's Chromium, or skip where there is none."""
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("Chromium was not found: install the package chromium")
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            args=["--no-sandbox", "--disable-background-networking", "--disable-component-update"],
        )
        yield browser
        browser.close()


@pytest.fixture
def page(browser):
    """Open an empty page 1280 px wide."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module")
def explorable(browser, site_url, request):
    """Open the page that a module names, once for the tests that set what they need."""
    from visits import opened

    with opened(browser, f"{site_url}/{request.module.PAGE}") as page:
        yield page


@pytest.fixture
def untouched(browser, site_url, request):
    """Open that page for one test alone."""
    from visits import opened

    with opened(browser, f"{site_url}/{request.module.PAGE}") as page:
        yield page
