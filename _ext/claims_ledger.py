"""The appendix on trust: every claim, how it fared under other seeds, and the faults put in.

The directives ``claims-ledger`` and ``mutants-score`` read the stored notebooks and what the last
sweep and the last campaign of mutants stored. The role ``count`` puts one of their sums into prose.
"""

import functools
import json
import math
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from mixbook.claims import stored_claims
from mixbook.compare import VALUE, VARIES, WITHIN, parts, tolerance_of_claims
from mixbook.mutants import KINDS, REPORT, code_cells, score
from mixbook.sweep import TABLE, spread_of_claims


def escaped(text: str) -> str:
    """Return a text in which Markdown finds nothing to mark up."""
    for character in "\\*_`[]<$|":
        text = text.replace(character, "\\" + character)
    return text


def table(widths: str, header: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a list-table."""
    lines = [":::{list-table}", ":header-rows: 1", f":widths: {widths}", ":class: ledger", ""]
    for row in [header, *rows]:
        lines += [f"{'*' if i == 0 else ' '} - {cell}" for i, cell in enumerate(row)]
    return [*lines, ":::", ""]


class _Directive(SphinxDirective):
    def read(self, path: Path) -> dict:
        """Return what a JSON file holds, nothing where there is none."""
        self.env.note_dependency(str(path))
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def parsed(self, lines: list[str]) -> list[nodes.Node]:
        node = nodes.container()
        self.state.nested_parse(StringList(lines, source=self.name), self.content_offset, node)
        return node.children


class ClaimsLedger(_Directive):
    """A table for each chapter: statement, measured value, accepted range, other seeds."""

    def run(self):
        lines, total = [], 0
        self.env.note_dependency(str(TABLE))
        for path in sorted((Path(self.env.srcdir) / "chapters").glob("*.ipynb")):
            self.env.note_dependency(str(path))
            claims, within = stored_claims(path), tolerance_of_claims(path)
            if not claims:
                continue
            total += len(claims)
            rows, fared = [], spread_of_claims(path.stem)
            for record in claims:
                measured, limit = record["measured"], within.get(record["name"])
                measured += f" ± {limit:.2g}" if limit else ""
                seeds = other_seeds(fared[record["name"]])
                rows.append([escaped(record["statement"]), measured, record["accepted"], seeds])
            lines += [f"**{{doc}}`chapters/{path.stem}`** ({len(claims)} claims)", ""]
            lines += table("44 18 18 20", ["Claim", "Measured", "Accepted", "Other seeds"], rows)
        return self.parsed([f"The book makes {total} claims.", "", *lines])


def other_seeds(entry: dict) -> str:
    """Return in words how a claim fared under other seeds."""
    if not entry["runs"]:
        return "not run"
    held = f"held in {entry['runs'] - len(entry['failed'])} of {entry['runs']}"
    if entry.get("margin") is None:
        return held
    return f"{held}: {entry['low']:g} to {entry['high']:g}"


class MutantsScore(_Directive):
    """A table of the chapters' scores, and the faults that live with their reasons."""

    def run(self):
        results = self.read(REPORT)
        rows, survivors = [], []
        for chapter, result in results.items():
            counts = [f"{result[kind]['killed']} of {result[kind]['tried']}" for kind in KINDS]
            rows.append([f"{{doc}}`chapters/{chapter}`", *counts, f"{score(result):.0%}"])
            survivors += [
                [
                    f"{{doc}}`chapters/{chapter}`",
                    escaped(entry["imitates"]),
                    escaped(entry["reason"]) or "not explained yet",
                ]
                for entry in result["survivors"]
            ]
        header = ["Chapter", "Computation", "Shown", "Check", "Automatic", "Noticed"]
        lines = table("32 17 13 12 14 12", header, rows) if rows else ["No campaign is stored."]
        if survivors:
            lines += ["These live:", ""]
            lines += table("25 35 40", ["Chapter", "Fault", "Why it is accepted"], survivors)
        return self.parsed(lines)


@functools.cache
def counts(chapters: tuple[Path, ...]) -> dict[str, int]:
    """Return the sums that prose may name, by name."""
    found = dict.fromkeys(("claims", "numbers", "moving", "computed", "figures"), 0)
    found["chapters"] = len(chapters)
    for path in chapters:
        found["claims"] += len(stored_claims(path))
        for cell in code_cells(path.stem):
            outputs, within = cell.outputs, cell.metadata.get(WITHIN, {})
            for name, part in parts(outputs).items():
                if name.startswith(VALUE):
                    is_number = not math.isnan(part.numbers[0])
                    found["computed"] += is_number and within.get(name) != VARIES
                else:
                    found["numbers"] += len(part.numbers)
                    found["moving"] += len(part.numbers) if name in within else 0
            found["figures"] += sum("image/png" in one.get("data", {}) for one in outputs)
    return found


def count(name, rawtext, text, lineno, inliner, options=None, content=None):
    """Return one of `counts`, with commas."""
    environment = inliner.document.settings.env
    chapters = tuple(sorted((Path(environment.srcdir) / "chapters").glob("*.ipynb")))
    for path in chapters:
        environment.note_dependency(str(path))
    return [nodes.Text(f"{counts(chapters)[text]:,}")], []


def setup(app):
    app.add_role("count", count)
    app.add_directive("claims-ledger", ClaimsLedger)
    app.add_directive("mutants-score", MutantsScore)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
