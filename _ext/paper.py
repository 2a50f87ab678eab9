"""Give the PDF what it can set, and offer it on the site when it is built.

The stored outputs hold tables and claims as HTML, which LaTeX cannot read: they become Markdown. An
explorable becomes a figure: the picture that ``_ext/pictures.py`` took, its description, and a link
to the page of the site beside which the PDF lies.
"""

import html
import json
import re
from pathlib import Path

from claims_ledger import escaped
from sphinx import addnodes

from mixbook.claims import METADATA_KEY
from mixbook.compare import tables

EXPLORABLE = re.compile(
    r'```{raw} html\n<div id="([\w-]+)" class="explorable">\n'
    r'<p class="explorable-fallback">[^<]*Without it: (.*?)</p>.*?```',
    re.DOTALL,
)
FIGURE = r"""```{{figure}} /_build/pictures/{name}.png
:width: 100%
:alt: The interactive figure as it looks when its page opens; its caption says what it shows.

{text} *On the site one can play with this figure.*
```

```{{raw}} latex
\noindent\csname hyper@linkurl\endcsname{{Play with it.}}{{\detokenize{{{page}.html}}}}
```
"""


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


def on_paper(text: str, page: str) -> str:
    """Replace each explorable in the Markdown of a page by a figure."""

    def figure(match: re.Match) -> str:
        text = html.unescape(match[2])
        return FIGURE.format(name=match[1], text=text[0].upper() + text[1:], page=page)

    return EXPLORABLE.sub(figure, text)


def prepare(app, docname, source):
    if app.builder.format != "latex":
        for path in app.config.html_extra_path if docname == app.config.root_doc else ():
            source[0] += f'\n<p><a href="{Path(path).name}">The book as a PDF.</a></p>\n'
        return
    if docname == app.config.root_doc:  # its sections would be chapters before the first
        source[0] = re.sub(r"^## (.*)$", r"```{rubric} \1\n```", source[0], flags=re.MULTILINE)
    if not app.env.doc2path(docname).endswith(".ipynb"):
        source[0] = on_paper(source[0], docname)
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            cell["source"] = on_paper("".join(cell["source"]), docname)
        for output in cell.get("outputs", []):
            for_paper(output)
    source[0] = json.dumps(notebook)


def without_empty_page(app, doctree, docname):
    """Drop the page of the references: LaTeX gathers them at the end, under a title of its own."""
    if app.builder.format == "latex":
        for page in list(doctree.findall(addnodes.start_of_file)):
            if page["docname"] == "bibliography":
                page.parent.remove(page)


def offer(app, config):
    """Put what ``make pdf`` has left on the site."""
    config.html_extra_path = [str(path) for path in Path(app.confdir).glob("_build/latex/*.pdf")]


def setup(app):
    app.connect("config-inited", offer, priority=900)
    app.connect("source-read", prepare, priority=600)  # after the tolerances' remarks
    app.connect("doctree-resolved", without_empty_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
