"""The directive ``claims-ledger``: a table of every claim, read from the stored notebooks."""

from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from mixbook.claims import stored_claims


class ClaimsLedger(SphinxDirective):
    """A table for each chapter: statement, measured value, accepted range."""

    def run(self):
        lines = []
        total = 0
        for path in sorted((Path(self.env.srcdir) / "chapters").glob("*.ipynb")):
            self.env.note_dependency(str(path))
            claims = stored_claims(path)
            if not claims:
                continue
            total += len(claims)
            lines += [f"**{{doc}}`chapters/{path.stem}`** ({len(claims)} claims)", ""]
            lines += [
                ":::{list-table}",
                ":header-rows: 1",
                ":widths: 50 24 26",
                ":class: ledger",
                "",
            ]
            lines += ["* - Claim", "  - Measured", "  - Accepted"]
            for record in claims:
                statement = record["statement"].replace("*", r"\*").replace("_", r"\_")
                lines += [f"* - {statement}", f"  - {record['measured']}"]
                lines += [f"  - {record['accepted']}"]
            lines += [":::", ""]
        lines = [f"The book makes {total} claims.", "", *lines]
        node = nodes.container()
        self.state.nested_parse(
            StringList(lines, source="claims-ledger"), self.content_offset, node
        )
        return node.children


def setup(app):
    app.add_directive("claims-ledger", ClaimsLedger)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
