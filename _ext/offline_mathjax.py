"""Serve MathJax from the site itself, so that a page makes no external request."""

import importlib.metadata
import shutil
from pathlib import Path

PACKAGE = "sphinx-mathjax-offline"
PARTS = ("output/chtml/fonts/woff-v2", "input/tex/extensions")


def copy_mathjax(app, exception):
    if exception or app.builder.format != "html":
        return
    package = importlib.metadata.distribution(PACKAGE).locate_file(PACKAGE)
    source = Path(package) / "static" / "mathjax"
    target = Path(app.outdir) / "_static" / "mathjax"
    for part in PARTS:
        shutil.copytree(source / part, target / part, dirs_exist_ok=True)
    shutil.copy2(source / "tex-chtml.js", target / "tex-chtml.js")


def setup(app):
    app.config.mathjax_path = "mathjax/tex-chtml.js"
    app.connect("build-finished", copy_mathjax)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
