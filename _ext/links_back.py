"""Close each chapter with the chapters that link to it, so that every link leads both ways."""

import json
import re
from functools import cache
from pathlib import Path

LINK = re.compile(r"\]\((\d\d_\w+\.ipynb)")


def text_of(path: Path) -> str:
    """Return the prose of a notebook."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


@cache
def links(folder: Path) -> dict[str, set[str]]:
    """Return the chapters that each chapter of a folder links to, by the names of their files."""
    return {path.name: set(LINK.findall(text_of(path))) for path in sorted(folder.glob("*.ipynb"))}


def add_links(app, docname, source):
    path = Path(app.env.doc2path(docname))
    if path.suffix != ".ipynb":
        return
    others = [
        name for name, to in links(path.parent).items() if path.name in to and name != path.name
    ]
    if not others:
        return
    notebook = json.loads(source[0])
    last = [cell for cell in notebook["cells"] if cell["cell_type"] == "markdown"][-1]
    line = ", ".join(f"[]({name})" for name in others)
    last["source"] = f"{''.join(last['source'])}\n\n**Chapters that refer to this one:** {line}.\n"
    source[0] = json.dumps(notebook)


def setup(app):
    app.connect("source-read", add_links)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
