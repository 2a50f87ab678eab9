"""Say below each table of sampled numbers by how much another run may differ from it.

What figures, models and values leave for the tests is taken out of the pages.
"""

import html
import json
import math
import re

import nbformat

from mixbook.compare import VARIES, WITHIN, Part, parts
from mixbook.figures import FINGERPRINT
from mixbook.models import RECORD as MODELS
from mixbook.sweep import ROUNDED
from mixbook.values import RECORD as VALUES


def remark(within: dict, shown: dict[str, Part]) -> str:
    """Return the line for the tolerances of one table, whose parts are `shown`, or nothing.

    A whole number that may differ by rounding alone, such as that of a chain, is not worth a word.
    """
    columns: dict[str, float] = {}
    for name, part in shown.items():
        limits = within.get(name)
        found = re.match(r"table.*, row \d+.*?, column (.+?)( \[\d+\])?$", name)
        if not found or not limits:
            continue
        if limits == VARIES:
            columns[found[1]] = math.inf
        elif any(
            limit > 1.01 * ROUNDED * abs(number) or number != round(number)
            for limit, number in zip(limits, part.numbers, strict=True)
        ):
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
    for cell, stored in zip(notebook["cells"], nbformat.reads(source[0], 4).cells, strict=True):
        if cell["cell_type"] != "code":
            continue
        within = cell["metadata"].get(WITHIN, {})
        outputs = cell["outputs"]
        cell["outputs"] = []
        for number, output in enumerate(outputs):
            data = output.get("data", {})
            if {MODELS, VALUES} & data.keys():
                continue
            cell["outputs"].append(output)
            data.pop(FINGERPRINT, None)
            text = "".join(data.get("text/html", ""))
            if within and "<table" in text:
                before = parts(stored.outputs[:number])
                shown = parts(stored.outputs[: number + 1])
                own = {name: part for name, part in shown.items() if name not in before}
                data["text/html"] = text + remark(within, own)
    source[0] = json.dumps(notebook)


def setup(app):
    app.connect("source-read", add_remarks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
