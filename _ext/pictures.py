"""Take a picture of each explorable of the built site, for the PDF: ``python _ext/pictures.py``."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

BUILD = Path(__file__).resolve().parents[1] / "_build"


def main() -> None:
    """Store each explorable as ``_build/pictures/<id>.png``, as it looks when a page opens."""
    executable = shutil.which("chromium")
    if executable is None:
        sys.exit("Chromium is missing: the PDF shows explorables by it. Install package chromium.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        page = browser.new_page(
            viewport={"width": 1280, "height": 900}, device_scale_factor=2, color_scheme="light"
        )
        for path in sorted((BUILD / "html").rglob("*.html")):
            if 'class="explorable"' not in path.read_text(encoding="utf-8"):
                continue
            page.goto(path.as_uri())
            for explorable in page.locator(".explorable").all():
                name = explorable.get_attribute("id")
                explorable.locator("svg, canvas").first.wait_for()
                explorable.screenshot(path=BUILD / "pictures" / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    main()
