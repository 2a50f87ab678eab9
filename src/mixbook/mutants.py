"""Mutants of the chapters: faults written by hand, and changes drawn from the syntax tree.

The faults written by hand stand in ``tests/mutants``, one list for each chapter. An entry replaces
the text ``right``, which must occur once in the chapter's code, by ``wrong``; ``imitates`` says
whose mistake that is. Entries under ``computation`` change a number on its way, those under
``shown`` only what a table, a figure or a sentence shows, those under ``check`` blunt a check.
Where a mutant changes nothing that a reader could see, ``equivalent`` says why; where it lives all
the same, ``survives`` says why that is accepted. Entries under ``automatic`` give such reasons for
mutants that are drawn.
"""

import ast
import hashlib
import tomllib
from collections.abc import Iterator
from typing import NamedTuple

import nbformat

from mixbook.execute import ROOT

LISTS = ROOT / "tests" / "mutants"
REPORT = LISTS / "report.json"  # what the last campaign found
KINDS = ("computation", "shown", "check", "automatic")
DRAWN = 6  # automatic mutants of each chapter
EXCUSES = ("equivalent", "survives")
GOAL = 0.95  # the share of mutants to be killed in each chapter, of those that change anything


class Mutant(NamedTuple):
    """A chapter with one changed cell."""

    chapter: str
    cell: int  # among the code cells, from 0
    source: str  # what stands in the cell now
    kind: str
    imitates: str
    excuse: str = ""  # "equivalent: why" or "survives: why"
    sample: bool = False  # whether `make test` runs it


def code_cells(chapter: str) -> list[nbformat.NotebookNode]:
    """Return the code cells of a chapter, as stored."""
    notebook = nbformat.read(ROOT / "chapters" / f"{chapter}.ipynb", as_version=4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def read_list(chapter: str) -> dict[str, list[dict]]:
    """Return the entries of a chapter's list by kind."""
    return tomllib.loads((LISTS / f"{chapter}.toml").read_text(encoding="utf-8"))


def excuse(entry: dict) -> str:
    """Return why an entry need not be killed, or nothing."""
    return next((f"{key}: {entry[key]}" for key in EXCUSES if key in entry), "")


def written(chapter: str) -> list[Mutant]:
    """Return the mutants of a chapter that are written by hand.

    Raises
    ------
    ValueError
        If the text that a mutant replaces does not occur exactly once in the chapter's code.
    """
    sources = [cell.source for cell in code_cells(chapter)]
    entries = read_list(chapter)
    mutants = []
    for kind in KINDS[:-1]:
        for entry in entries.get(kind, []):
            right, wrong = entry["right"].strip("\n"), entry["wrong"].strip("\n")
            count = sum(source.count(right) for source in sources)
            if count != 1:
                raise ValueError(
                    f"{chapter}: {right!r} occurs {count} times in the code, but must occur once; "
                    f"bring {LISTS.name}/{chapter}.toml up to date."
                )
            cell = next(number for number, source in enumerate(sources) if right in source)
            source = sources[cell].replace(right, wrong)
            sample = entry.get("sample", False)
            mutants.append(
                Mutant(chapter, cell, source, kind, entry["imitates"], excuse(entry), sample)
            )
    return mutants


def drawn(chapter: str, count: int = DRAWN, seed: int = 0) -> list[Mutant]:
    """Return mutants that the operators make of a chapter's computing cells.

    A change has a rank: a digest of the seed, the cell and the change. The lowest ranks are taken,
    so that an edit of one cell leaves the mutants of the others as they are.
    """
    excuses = {entry["change"]: excuse(entry) for entry in read_list(chapter).get("automatic", [])}
    ranked = []
    for cell, stored in enumerate(code_cells(chapter)):
        if "hide-input" in stored.metadata.get("tags", []):
            continue
        for change, source in dict(reversed(list(changes(stored.source)))).items():  # the first
            text = f"{seed} {ast.unparse(ast.parse(stored.source))} {change}"
            rank = hashlib.sha256(text.encode()).hexdigest()
            ranked.append((rank, cell, source, change))
    return [
        Mutant(chapter, cell, source, "automatic", change, excuses.get(change, ""))
        for _, cell, source, change in sorted(ranked)[:count]
    ]


def score(result: dict) -> float:
    """Return the share of a chapter's mutants that were killed, equivalent ones left out."""
    killed, tried = (sum(result[kind][part] for kind in KINDS) for part in ("killed", "tried"))
    return killed / tried


# Keywords that only quieten, name or save time, and calls that only show: no faults to be had.
SILENT = {"progressbar", "quiet", "name", "digits", "display", "cores", "mode"}
SHOWING = {"glue", "watermark", "use_style", "quiet_sampling", "fit_report", "print", "set"}
STREAMS = {"seed", "rng"}  # another stream is another run, as good as this one
CONVERSIONS = {"int", "float"}  # NumPy's numbers show and compare as Python's do
OPPOSITE = {
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
}


def changes(source: str) -> Iterator[tuple[str, str]]:
    """Yield each change that the operators can make of a cell: its description, the new source.

    The operators drop a keyword, swap two arguments, replace a call by its first argument, change a
    constant by half, and negate a comparison.

    Examples
    --------
    >>> for change, _ in changes("y = f(2, sd=x)"):
    ...     print(change)
    f(2, sd=x) → f(2)
    f(2, sd=x) → 2
    2 → 3
    """
    text = source.encode()  # the tree counts in bytes
    lines = [0, *(end + 1 for end, byte in enumerate(text) if byte == ord("\n"))]
    for node in computing(ast.parse(source)):
        start = lines[node.lineno - 1] + node.col_offset
        end = lines[node.end_lineno - 1] + node.end_col_offset
        before = ast.unparse(node)
        for option in replacements(node):
            after = ast.unparse(option)
            if after != before:
                new = after if isinstance(option, ast.Call | ast.Compare) else f"({after})"
                yield f"{before} → {after}", (text[:start] + new.encode() + text[end:]).decode()


def computing(tree: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions of a cell that compute; of a claim, only those of its value."""
    for child in ast.iter_child_nodes(tree):
        name = ast.unparse(child.func).split(".")[-1] if isinstance(child, ast.Call) else ""
        if name in SHOWING | STREAMS or isinstance(
            child, ast.Import | ast.ImportFrom | ast.JoinedStr | ast.Raise
        ):
            continue
        if isinstance(child, ast.keyword) and child.arg in SILENT:
            continue
        if name == "claim":
            yield from computing(ast.Expression(child.args[1]))
            continue
        if isinstance(child, ast.expr):
            yield child
        yield from computing(child)


def replacements(node: ast.expr) -> list[ast.expr]:
    """Return what the operators make of one expression."""
    if isinstance(node, ast.Call):
        made = [
            ast.Call(node.func, node.args, [other for other in node.keywords if other is not gone])
            for gone in node.keywords
            if gone.arg and gone.arg not in SILENT
        ]
        if len(node.args) > 1:
            made.append(ast.Call(node.func, [*node.args[1::-1], *node.args[2:]], node.keywords))
        return made + node.args[:1] * (ast.unparse(node.func) not in CONVERSIONS)
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return [ast.Constant(node.value + max(1, node.value // 2))]
    if isinstance(node, ast.Constant) and type(node.value) is float:
        return [ast.Constant(node.value * 1.5)]
    if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in OPPOSITE:
        return [ast.Compare(node.left, [OPPOSITE[type(node.ops[0])]()], node.comparators)]
    return []
