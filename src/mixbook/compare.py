"""What a cell shows, taken apart into numbers and text, and compared with the stored edition.

Every number that a reader sees counts: cells of tables, measured values of claims, glued numbers,
reports of fits, and what the figures draw; and beside them the log density of the models that a
cell builds, and a mean of all that it computes. A number agrees where it lies within the tolerance
that is stored with its cell; where none is, a whole number exactly and another one to four digits,
which is as far as processors agree. `mixbook.sweep` measures the tolerances.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple

from mixbook.claims import METADATA_KEY
from mixbook.figures import FINGERPRINT
from mixbook.models import RECORD as MODELS
from mixbook.values import RECORD as VALUES

WITHIN = "within"  # the key of a cell's metadata that holds its tolerances
VARIES = "varies"  # the tolerance of a text that differs from run to run
VALUE = "value of "  # how the names of parts begin that are computed and not shown
ROUNDING = 1e-9  # numbers that are all smaller are 0 but for rounding
NUMBER = re.compile(r"(?<![\w.,#])[-−+]?\d+(?:,\d{3})*(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w])")
GLUED = "application/papermill.record/"
PYTHON = re.compile(r"Python 3\.\d+")  # a chapter's last line names it; the others are locked


class Part(NamedTuple):
    """A part of what a cell shows: its text, with # for each number, and the numbers."""

    text: str
    numbers: list[float]


def split(text: str) -> Part:
    """Take a text apart into its words and its numbers.

    Examples
    --------
    >>> split("2 chains of 1,000 draws, worst r-hat 1.01")
    Part(text='# chains of # draws, worst r-hat #', numbers=[2.0, 1000.0, 1.01])
    """
    text = PYTHON.sub("Python 3", text)
    found = [match.replace(",", "").replace("−", "-") for match in NUMBER.findall(text)]
    return Part(" ".join(NUMBER.sub("#", text).split()), [float(number) for number in found])


class _Tables(HTMLParser):
    """The texts of an HTML output: cells of tables by row and column, and the rest."""

    def __init__(self, html: str):
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.rest: list[str] = []
        self.cell: list[str] | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th") and self.cell is not None:
            self.tables[-1][-1].append(" ".join("".join(self.cell).split()))
            self.cell = None

    def handle_data(self, text: str) -> None:
        (self.rest if self.cell is None else self.cell).append(text)


def tables(html: str) -> list[list[list[str]]]:
    """Return the tables of an HTML output, each as rows of texts, the header first.

    Examples
    --------
    >>> tables("<table><tr><th>K</th></tr><tr><td>3</td></tr></table>")
    [[['K'], ['3']]]
    """
    return _Tables(html).tables


def _html_parts(html: str) -> Iterator[tuple[str, Part]]:
    parsed = _Tables(html)
    if any(text.strip() for text in parsed.rest):
        yield "text", split(" ".join(parsed.rest))
    for number, table in enumerate(parsed.tables, start=1):
        which = "table" if len(parsed.tables) == 1 else f"table {number}"
        header, *rows = table or [[]]
        yield f"{which}, header", Part(" | ".join(header), [])
        for i, row in enumerate(rows, start=1):
            name = row[0] if row and not split(row[0]).numbers else ""
            where = f"row {i} ({name})" if name else f"row {i}"
            for j, cell in enumerate(row):
                column = header[j] if len(header) == len(row) and header[j] else f"{j + 1}"
                yield f"{which}, {where}, column {column}", split(cell)


def _figure_parts(drawn: Mapping) -> Iterator[tuple[str, Part]]:
    yield "figure, texts", split(" | ".join(drawn["texts"]))
    for number, axes in enumerate(drawn["axes"], start=1):
        where = f"figure, axes {number}"
        yield f"{where}, texts", split(" | ".join(axes["texts"]))
        yield f"{where}, limits", Part(axes["scales"], axes["limits"])
        for i, artist in enumerate(axes["artists"], start=1):
            which = f"{where}, {artist['kind']} {i}"
            yield f"{which}, colours", Part(artist["text"], [])
            for name, numbers in artist["numbers"].items():
                yield f"{which}, {name}", Part("", numbers)
        yield f"{where}, artists", Part(" ".join(artist["kind"] for artist in axes["artists"]), [])


def _output_parts(output: Mapping) -> Iterator[tuple[str, Part]]:
    if output["output_type"] == "stream":
        for i, line in enumerate(output["text"].splitlines(), start=1):
            yield f"{output['name']}, line {i}", split(line)
        return
    data = output.get("data", {})
    record = output.get("metadata", {}).get(METADATA_KEY)
    if record:
        yield f"claim {record['name']}", split(data["text/plain"])
    elif FINGERPRINT in data:
        yield from _figure_parts(data[FINGERPRINT])
    elif MODELS in data:
        for number, densities in enumerate(data[MODELS], start=1):
            for name, density in densities.items():
                is_text = isinstance(density, str)  # infinite, or NaN
                part = Part(density, []) if is_text else Part("", [density])
                yield f"model {number}, log density of {name}", part
    elif VALUES in data:
        for name, (*shape, mean) in data[VALUES].items():
            yield f"{VALUE}{name}", Part(f"shape {shape}", [math.nan if mean is None else mean])
    elif "text/html" in data:
        yield from _html_parts(data["text/html"])
    else:
        name = output.get("metadata", {}).get("scrapbook", {}).get("name")
        for kind, text in sorted(data.items()):
            if not kind.startswith("image/"):
                what = f"glued {name}" if kind.startswith(GLUED) else "text"
                yield what, split(text if isinstance(text, str) else repr(text))
    if not record:
        images = " ".join(sorted(kind for kind in data if kind.startswith("image/")))
        if images:
            yield "image", Part(images, [])


def parts(outputs: Sequence[Mapping]) -> dict[str, Part]:
    """Return the parts of what a cell shows, under names that say where a reader finds them.

    Parameters
    ----------
    outputs
        A code cell's outputs, as a notebook stores them.

    Returns
    -------
    dict
        From names such as ``"table, row 2 (sigma), column sd"`` to parts.
    """
    streams: dict[str, str] = {}  # each may arrive in pieces, with other outputs between them
    for output in outputs:
        if output["output_type"] == "stream":
            streams[output["name"]] = streams.get(output["name"], "") + output["text"]
    others = [output for output in outputs if output["output_type"] != "stream"]
    joined = [{"output_type": "stream", "name": name, "text": streams[name]} for name in streams]
    found: dict[str, Part] = {}
    for output in [*joined, *others]:
        for name, part in _output_parts(output):
            free, number = name, 2
            while free in found:
                free, number = f"{name} [{number}]", number + 1
            found[free] = part
    return found


def agree(old: float, new: float, tolerance: float = 0.0) -> bool:
    """Tell whether two numbers agree: within the tolerance, or but for rounding.

    Rounding may move what is no whole number by one unit of its fourth digit.

    Examples
    --------
    >>> agree(23.99, 23.98), agree(23.99, 23.97), agree(2399, 2398)
    (True, False, False)
    """
    if old == new or (old != old and new != new):
        return True
    largest = max(abs(old), abs(new))
    if largest < ROUNDING:
        return True
    if math.isfinite(largest) and (old % 1 or new % 1):
        tolerance = max(tolerance, 1.001 * 10.0 ** (math.floor(math.log10(largest)) - 3))
    return abs(old - new) <= tolerance


def differences(
    stored: Sequence[Mapping], new: Sequence[Mapping], within: Mapping[str, list | str]
) -> list[str]:
    """Return what differs between a cell's stored outputs and new ones, one line each.

    Parameters
    ----------
    stored, new
        The outputs of the cell.
    within
        The cell's tolerances: for the name of a part one tolerance for each of its numbers, or
        ``"varies"`` where its text is not compared. Parts without one must be equal.

    Returns
    -------
    list of str
        Where it is, both values, and the tolerance.
    """
    old_parts, new_parts = parts(stored), parts(new)
    found = [
        f"{name}: is no longer shown"
        for name in old_parts
        if name not in new_parts and not (name.startswith(VALUE) and within.get(name) == VARIES)
    ]
    found += [
        f"{name}: was not shown before: {part.text}"
        for name, part in new_parts.items()
        if name not in old_parts and not name.startswith(VALUE)
    ]
    for name, old in old_parts.items():
        now, tolerance = new_parts.get(name), within.get(name)
        if now is None or tolerance == VARIES:
            continue
        if now.text != old.text or len(now.numbers) != len(old.numbers):
            found.append(f"{name}: stored {old.text!r}, now {now.text!r}")
            continue
        limits = tolerance or [0.0] * len(old.numbers)
        if len(limits) != len(old.numbers):
            found.append(f"{name}: its tolerances are those of another table: run make tolerances")
            continue
        for a, b, limit in zip(old.numbers, now.numbers, limits, strict=True):
            if name.startswith(VALUE) and (math.isnan(a) or (math.isnan(b) and limit)):
                continue  # what chance may have counted
            if not agree(a, b, limit):
                accepted = f"accepted ± {limit:.2g}" if limit else "accepted exactly"
                found.append(f"{name}: stored {a:.6g}, now {b:.6g}, {accepted}")
    return found


def tolerance_of_claims(path: Path) -> dict[str, float]:
    """Return by how much the measured value of each claim of a stored notebook may differ."""
    found = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for name, limits in cell["metadata"].get(WITHIN, {}).items():
            if name.startswith("glued ") and limits != VARIES:
                found[name.removeprefix("glued ")] = max(limits)
    return found
