"""Say below each table of sampled numbers by how much another run may differ from it.

What figures, models and values leave for the tests is taken out of the pages.
"""

import html
import json
import math
import re

from mixbook.compare import VARIES, WITHIN, tables
from mixbook.figures import FINGERPRINT
from mixbook.models import RECORD as MODELS
from mixbook.values import RECORD as VALUES


def remark(within: dict, shown: str) -> str:
    """Return the line for the tolerances of a cell below one of its tables, or nothing."""
    own = {
        text or str(number)
        for header, *_ in filter(None, tables(shown))
        for number, text in enumerate(header, start=1)
    }
    columns: dict[str, float] = {}
    for name, limits in within.items():
        found = re.match(r"table.*, row \d+.*?, column (.+)$", name)
        if found and found[1] not in own:
            continue  # of another table of the cell
        if found and limits == VARIES:
            columns[found[1]] = math.inf
        elif found:
            columns[found[1]] = max(columns.get(found[1], 0.0), *limits)
    if not columns:
        return ""
    texts = [
        f"{html.escape(name)} ± {limit:.2g}" if limit < math.inf else f"{html.escape(name)} freely"
        for name, limit in columns.items()
    ]
    return (
        '<p class="tolerance">With other luck of the samplers, these numbers may differ by: '
        + "; ".join(texts)
        + ".</p>"
    )


def add_remarks(app, docname, source):
    path = app.env.doc2path(docname)
    if not path.endswith(".ipynb"):
        return
    notebook = json.loads(source[0])
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            continue
        within = cell["metadata"].get(WITHIN, {})
        cell["outputs"] = [
            each for each in cell["outputs"] if not {MODELS, VALUES} & each.get("data", {}).keys()
        ]
        for output in cell["outputs"]:
            data = output.get("data", {})
            data.pop(FINGERPRINT, None)
            text = "".join(data.get("text/html", ""))
            if "<table" in text:
                data["text/html"] = text + remark(within, text)
    source[0] = json.dumps(notebook)


def setup(app):
    app.connect("source-read", add_remarks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
