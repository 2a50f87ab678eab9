"""Give the PDF what it can set, and offer it on the site when it is built.

The stored outputs hold tables and claims as HTML, which LaTeX cannot read: they become Markdown. An
explorable becomes its description.
"""

import html
import json
import re
from pathlib import Path

from claims_ledger import escaped

from mixbook.claims import METADATA_KEY
from mixbook.compare import tables

RAW = re.compile(r"```\{raw\} html\n(.*?)```", re.DOTALL)
FALLBACK = re.compile(r'<p class="explorable-fallback">(.*?)</p>', re.DOTALL)


def pipe_table(rows: list[list[str]]) -> str:
    """Return the Markdown of a table; columns of numbers stand to the right."""
    header, *body = [[escaped(cell) or " " for cell in row] for row in rows]
    sides = [
        "---:" if all(re.fullmatch(r"[-−+\d.,e\\ %x]*", row[j]) for row in body) else "---"
        for j in range(len(header))
    ]
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, sides, *body))


def for_paper(output: dict) -> None:
    """Replace the HTML of one output by Markdown."""
    data = output.get("data", {})
    page = "".join(data.get("text/html", ""))
    record = output.get("metadata", {}).get(METADATA_KEY)
    if record:
        text = f"✓ {escaped(''.join(data['text/plain']).removeprefix('✓ '))}"
    elif "<table" in page:
        text = "\n\n".join(map(pipe_table, tables(page)))
        remark = re.search(r'<p class="tolerance">(.*?)</p>', page)
        text += f"\n\n{escaped(html.unescape(remark[1]))}" if remark else ""
    else:
        return
    for kind in ("text/html", "text/plain"):
        data.pop(kind, None)
    data["text/markdown"] = text


def description(match: re.Match) -> str:
    """Return what stands in an explorable's place on paper."""
    found = FALLBACK.search(match[1])
    text = html.unescape(found[1]).split("Without it: ")[-1] if found else ""
    return f"*(On the site, a figure to play with stands here.)* {text[:1].upper()}{text[1:]}"


def prepare(app, docname, source):
    if app.builder.format != "latex":
        for path in app.config.html_extra_path if docname == app.config.root_doc else ():
            source[0] += f'\n<p><a href="{Path(path).name}">The book as a PDF.</a></p>\n'
        return
    if docname == app.config.root_doc:  # its sections would be chapters before the first
        source[0] = re.sub(r"^## (.*)$", r"```{rubric} \1\n```", source[0], flags=re.MULTILINE)
    if not app.env.doc2path(docname).endswith(".ipynb"):
        source[0] = RAW.sub(description, source[0])
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = RAW.sub(description, "".join(cell["source"]))
        for output in cell.get("outputs", []):
            for_paper(output)
    source[0] = json.dumps(notebook)


def offer(app, config):
    """Put what ``make pdf`` has left on the site."""
    config.html_extra_path = [str(path) for path in Path(app.confdir).glob("_build/latex/*.pdf")]


def setup(app):
    app.connect("config-inited", offer, priority=900)
    app.connect("source-read", prepare, priority=600)  # after the tolerances' remarks
    return {"parallel_read_safe": True, "parallel_write_safe": True}
