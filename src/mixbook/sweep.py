"""Run the chapters again and again: ``make tolerances`` and ``make sweep``.

``--samplers 8`` runs each chapter with its own data and other samplers' randomness, every second
time as on an older processor, and writes into the cells by how much the numbers that a reader sees
may differ from the stored ones. ``--seeds 20`` runs each chapter under 1 to 20 as
``MIXBOOK_SEED``, and stores what each claim measured. Finished runs are kept in ``.runs``, so that
an interrupted command goes on where it stopped, and what the table holds of a seed is not measured
again, on another machine neither. What a claim measured stands for as long as the code up to its
cell, claims of earlier cells apart; where only the sentence or the limits changed, it is judged by
the new limits.
"""

import argparse
import ast
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import nbformat
from scipy import stats

from mixbook.claims import (
    METADATA_KEY,
    ClaimError,
    claims_in,
    names_in,
    stored_claims,
    without_claims,
)
from mixbook.compare import ROUNDING, VALUE, VARIES, WITHIN, Part, agree, parts
from mixbook.execute import ROOT, digest

CHAPTERS = ROOT / "chapters"
RUNS = ROOT / ".runs"
TABLE = ROOT / "tests" / "sweep.json"  # what the claims measured under seeds
FALSE_ALARMS = 1e-5  # how often an honest number may lie outside; the book has thousands
ROUNDED = 0.01  # what rounding to two decimals may move, of a number between 1 and 10
# Without these, NumPy, OpenBLAS and LLVM round as on a processor of 2009, which stands for another
# machine; NumPy ignores the names of features that the processor does not have.
OLD_PROCESSOR = {
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR",
    "OPENBLAS_CORETYPE": "Nehalem",
    "NUMBA_CPU_NAME": "nehalem",
    "NUMBA_CPU_FEATURES": "",
}


class Run(NamedTuple):
    """One run of a chapter; seed and sampler 0 are the book's own."""

    chapter: str
    seed: int
    sampler: int

    @property
    def path(self) -> Path:
        """Where its record is kept, under the digest of the chapter's code and data.

        What it shows, which the tolerances need, has the sentences and limits of its claims; what
        its claims measure under a seed has not.
        """
        notebook = nbformat.read(CHAPTERS / f"{self.chapter}.ipynb", as_version=4)
        code = digest(notebook, limits=bool(self.sampler))
        return RUNS / self.chapter / code / f"seed-{self.seed}-sampler-{self.sampler}.json"

    def unmet(self) -> set[str]:
        """Return the names of the claims that are not known under the seed."""
        kept = measured(self.chapter)
        return {name for name, values in kept.items() if values.get(self.seed) is None}

    def is_known(self) -> bool:
        """Tell whether it is known what the run shows, or, under a seed, what its claims measure.

        Where a claim fell, what stands after it in its cell was not measured.
        """
        if self.sampler:
            return any(not each["failed"] for each in records([self]))
        return not self.unmet()

    def start(self) -> None:
        """Run the chapter in a process of its own, unless it is known what the run would show."""
        if self.is_known():
            return
        shifts = {"MIXBOOK_SEED": str(self.seed), "MIXBOOK_SAMPLER": str(self.sampler)}
        old = OLD_PROCESSOR if self.sampler and self.sampler % 2 == 0 else {}
        command = [sys.executable, "-m", "mixbook.sweep", "--run", *map(str, self)]
        started = time.monotonic()
        done = subprocess.run(command, env=os.environ | shifts | old, check=False)
        how = f"{time.monotonic() - started:.0f} s"
        if done.returncode:
            how = f"ended with {done.returncode}"
        print(f"{self.chapter}, seed {self.seed}, sampler {self.sampler}: {how}", flush=True)


def record(run: Run) -> None:
    """Run a chapter in this process and keep what its cells show and what its claims measure.

    A claim that fails is noted, and the next cell is run, even where it lacks a name that was to
    follow that claim. Under a seed the run ends with the last claim that the seed has not met.
    """
    from mixbook.kernel import Kernel

    path = run.path
    notebook = nbformat.read(CHAPTERS / f"{run.chapter}.ipynb", as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if not run.sampler:
        unmet = run.unmet()
        ends = [
            number
            for number, cell in enumerate(cells, 1)
            if unmet & {claim["name"] for claim in claims_in(cell.outputs)}
        ]
        cells = cells[: max(ends, default=len(cells))]
    os.chdir(CHAPTERS)
    kernel, shown, claims, failed = Kernel(), {}, {}, {}
    for cell in cells:
        outputs, error = kernel.run(cell.source)
        if isinstance(error, ClaimError):
            failed[error.name] = str(error)
            claims[error.name] = error.value
        elif error is not None and not (failed and isinstance(error, NameError)):
            raise error
        shown[cell.id] = parts(outputs)
        names = {
            output.metadata[METADATA_KEY]["name"]
            for output in outputs
            if METADATA_KEY in output.get("metadata", {})
        }
        glued = {name: shown[cell.id][f"glued {name}"].numbers for name in names}
        claims |= {name: numbers[0] if numbers else True for name, numbers in glued.items()}
    if path.exists():  # what another run measured, perhaps further on
        before = json.loads(path.read_text())
        others = {name: text for name, text in before["failed"].items() if name not in claims}
        shown, claims = before["shown"] | shown, before["claims"] | claims
        failed = others | failed
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    unfinished.write_text(json.dumps({"shown": shown, "claims": claims, "failed": failed}))
    unfinished.rename(path)


def records(runs: Iterable[Run]) -> list[dict]:
    """Return the records of those runs that are finished."""
    return [json.loads(run.path.read_text()) for run in runs if run.path.exists()]


def tolerances(stored: dict[str, Part], runs: Sequence[dict[str, Part]]) -> dict[str, list | str]:
    """Return by how much what a cell shows may differ from the stored edition.

    Parameters
    ----------
    stored, runs
        The parts of the cell as stored, and as each run showed them.

    Returns
    -------
    dict
        For each part that differed between the runs one tolerance for each number, or ``"varies"``
        where its text differed. A new number and the stored one differ by sqrt(2) standard
        deviations, which are estimated from the stored and the new numbers, so the tolerance is a
        quantile of Student's t (`FALSE_ALARMS`), and one unit of the last of five digits. A number
        in a table that did not move gets the least of its column, and no statistic of an artist's
        coordinate gets less than their median. A number below 10 that did not move, in a row of a
        table or in a line where another did, may be a rounded one: it gets `ROUNDED` of its size.
        What did not move elsewhere is exact, and so is what did not move in a column called truth
        or in a row that says it was published. Of what is computed and not shown, chance has no
        hand in what at least every second run gave with all digits, and the others with four.
    """
    factor = math.sqrt(2) * stats.t.isf(FALSE_ALARMS / 2, df=len(runs))
    found: dict[str, list | str] = {}
    spreads: dict[str, list[float]] = {}
    for name, part in stored.items():
        others = [Part(*run[name]) for run in runs if name in run]
        is_claim = name.startswith(("claim", "glued"))  # missing where an earlier one failed
        if (len(others) < len(runs) and not is_claim) or any(
            other.text != part.text or len(other.numbers) != len(part.numbers) for other in others
        ):
            found[name] = VARIES
            continue
        values = list(zip(part.numbers, *(other.numbers for other in others), strict=True))
        spread = [_spread(row, factor, is_shown=not name.startswith(VALUE)) for row in values]
        if spread == [math.inf]:
            found[name] = VARIES
        elif any(spread):
            spreads[name] = spread
    columns: dict[str, list[float]] = {}
    for name, spread in spreads.items():
        if stored[name].text == "#":  # a number among words, as in "component 1", stands alone
            columns.setdefault(_column(name), []).extend(value for value in spread if value)
    moved = {_row(name) for name in spreads if name.startswith(("table", "stdout"))}
    in_tables = [name for name in stored if name.startswith("table")]
    known = {_row(name) for name in in_tables if "published" in stored[name].text}
    for name, part in stored.items():
        is_known = _row(name) in known or name.endswith("column truth")
        of_column = columns.get(_column(name), []) if part.text == "#" and not is_known else []
        beside = _row(name) in moved and (part.text == "#" or name.startswith("stdout"))
        if name in found or not (name in spreads or of_column or beside):
            continue
        spread = spreads.get(name, [0.0] * len(part.numbers))
        least = 0.0
        if name.startswith("table") and of_column:
            least = min(of_column)
        elif name.startswith("figure"):  # the two counts stand by themselves
            least = statistics.median(spread[2:] or spread)
        limits = []
        for i, (value, number) in enumerate(zip(spread, part.numbers, strict=True)):
            if not (name.startswith("figure") and i < 2 < len(spread)):
                value = max(value, least)
            if value:
                unit = 10 ** (math.floor(math.log10(abs(number))) - 4) if number else 0
                limits.append(float(f"{factor * value + unit:.2g}"))
            else:  # r-hat, say, as it stands: 1.00
                is_rounded = beside and abs(number) < 10 and not is_known
                limits.append(ROUNDED * abs(number) if is_rounded else 0.0)
        if any(limits):
            found[name] = limits
    extra = {name for run in runs for name in run if not name.startswith(VALUE)} - set(stored)
    return found | {name: VARIES for name in sorted(extra)}


def _spread(row: Sequence[float], factor: float, is_shown: bool) -> float:
    """Return the spread of a number that several runs gave; the first is the stored one.

    It is 0 where all runs agree, and so would others: where `factor` standard deviations are no
    more than rounding may be. What is not shown has twice the standard deviation, since there are
    thousands of them. NaN stands for what chance may have counted.
    """
    stored, *others = row
    if math.isnan(stored) or not others:
        return 0.0
    is_exact = is_shown or sum(other == stored for other in others) >= len(others) / 2
    if is_exact and all(agree(stored, other) for other in others):
        spread = statistics.stdev(row) if is_shown and abs(stored) >= ROUNDING else 0.0
        is_safe = agree(stored, stored + factor * spread) or agree(stored, stored - factor * spread)
        return 0.0 if is_safe else spread
    numbers = [number for number in row if is_shown or not math.isnan(number)]
    if len(set(numbers)) < 2:
        return math.inf
    return statistics.stdev(numbers) * (1 if is_shown else 2)


def _row(name: str) -> str:
    """Return the row of a table that a cell stands in; of other parts, the part."""
    return name.partition(", column")[0]


def _column(name: str) -> str:
    return re.sub(r"row [^,]*( \(.*\))?, column", "column", name)


def write_tolerances(chapter: str, count: int) -> int:
    """Write the tolerances into the cells of a chapter; return from how many runs they come."""
    path = CHAPTERS / f"{chapter}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    found = records(Run(chapter, 0, sampler) for sampler in range(1, count + 1))
    for cell in notebook.cells if found else []:
        if cell.cell_type == "code":
            within = tolerances(parts(cell.outputs), [each["shown"][cell.id] for each in found])
            cell.metadata.pop(WITHIN, None)
            if within:
                cell.metadata[WITHIN] = within
    nbformat.write(notebook, path)
    return len(found)


def code_of_claims(chapter: str) -> dict[str, str]:
    """Return for each claim of a chapter a digest of the code and data up to its cell.

    Other claims are no part of it, but for those of its cell whose names are computed as its own.
    """
    notebook = nbformat.read(CHAPTERS / f"{chapter}.ipynb", as_version=4)
    found, cells = {}, notebook.cells
    for number, cell in enumerate(cells, 1):
        if cell.cell_type != "code":
            continue
        source, notebook.cells = cell.source, cells[:number]
        written = names_in(ast.parse(source))
        for name in [stored["name"] for stored in claims_in(cell.outputs)]:
            kept = {name if name in written else None}
            cell.source = ast.unparse(without_claims(ast.parse(source), kept))
            found[name] = digest(notebook, limits=False)
        cell.source = ast.unparse(without_claims(ast.parse(source)))
    return found


def measured(chapter: str) -> dict[str, dict[int, float | bool | None]]:
    """Return what the claims of a chapter, as its code stands, measured under which seeds.

    Returns
    -------
    dict
        By name, and by seed: a number, True or False, or None where the claim fell for another
        reason than its limits, such as NaN.
    """
    found: dict[str, dict] = {}
    table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    for name, code in code_of_claims(chapter).items():
        entry = table.get(chapter, {}).get(name, {})
        found[name] = {}
        if entry.get("code") == code:
            seeds = numbers(entry["seeds"])
            values = entry["values"]
            found[name] = dict(
                zip(seeds, values if len(values) > 1 else values * len(seeds), strict=True)
            )
    for path in Run(chapter, 0, 0).path.parent.glob("seed-*-sampler-0.json"):
        seed, run = int(path.stem.split("-")[1]), json.loads(path.read_text())
        for name, value in run["claims"].items():
            refused = ", accepted " not in run["failed"].get(name, ", accepted ")
            is_number = value is not None and math.isfinite(value)
            if name in found:
                found[name][seed] = value if is_number and not refused else None
    return {name: dict(sorted(values.items())) for name, values in found.items()}


def spread_of_claims(chapter: str) -> dict[str, dict]:
    """Return for each claim of a chapter how it fared under the seeds that are known.

    Returns
    -------
    dict
        By the claim's name: ``runs``, ``failed`` (the seeds), ``low`` and ``high`` (the extremes of
        the measured values), and ``margin``: how many standard deviations lie between the mean and
        the nearer limit, None where the values do not differ.
    """
    found = {}
    kept = measured(chapter)
    for claim in stored_claims(CHAPTERS / f"{chapter}.ipynb"):
        values = kept[claim["name"]]
        entry = {"runs": len(values)}
        entry["failed"] = [seed for seed, value in values.items() if _fell(claim, value)]
        finite = [value for value in values.values() if type(value) in (int, float)]
        if len(finite) > 1:
            spread, mean = statistics.stdev(finite), statistics.fmean(finite)
            limits = [abs(mean - limit) for limit in claim["range"] if limit is not None]
            margin = round(min(limits) / spread, 1) if spread > 0 else None
            low, high = (float(f"{value:.4g}") for value in (min(finite), max(finite)))
            entry |= {"low": low, "high": high, "margin": margin}
        found[claim["name"]] = entry
    return found


def _fell(claim: dict, value: float | bool | None) -> bool:
    """Tell whether a claim with the limits that it has now falls with what was measured."""
    low, high = claim["range"]
    return value is None or (low is not None and value < low) or (high is not None and value > high)


def write_table(chapters: Sequence[str]) -> None:
    """Store what the claims of chapters measured, beside what is known of other chapters.

    Seeds are written as in ``1-20,101``, and values once where all are the same.
    """
    table = json.loads(TABLE.read_text(encoding="utf-8")) if TABLE.exists() else {}
    for chapter in chapters:
        codes, kept = code_of_claims(chapter), measured(chapter)
        table[chapter] = {}
        for name, values in kept.items():
            if values:
                several = list(values.values())
                is_one = len(set(several)) == 1
                table[chapter][name] = {
                    "code": codes[name],
                    "seeds": ranges(values),
                    "values": several[:1] if is_one else several,
                }
    lines = [
        f" {json.dumps(chapter)}: {{\n"
        + ",\n".join(f"  {json.dumps(name)}: {json.dumps(entry)}" for name, entry in claims.items())
        + "\n }"
        for chapter, claims in sorted(table.items())
    ]
    TABLE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def report(chapters: Sequence[str]) -> int:
    """Print and store how all claims fared under the seeds that are known.

    Returns
    -------
    int
        1 where one fell.
    """
    failures = 0
    for chapter in chapters:
        for name, entry in spread_of_claims(chapter).items():
            extremes = f"{entry['low']:g} to {entry['high']:g}" if "low" in entry else "true"
            line = f"{chapter}: {name}: {entry['runs']} runs, {extremes}"
            line += f", margin {entry['margin']} spreads" if entry.get("margin") else ""
            if entry["failed"]:
                failures += 1
                line += f"; FAILED under {', '.join(map(str, entry['failed']))}"
            print(line)
    write_table(chapters)
    return int(failures > 0)


def ranges(seeds: Iterable[int]) -> str:
    """Return seeds, in order, as `numbers` reads them."""
    pieces: list[list[int]] = []
    for seed in seeds:
        if pieces and seed == pieces[-1][1] + 1:
            pieces[-1][1] = seed
        else:
            pieces.append([seed, seed])
    alone = len(pieces) == 1  # where one number would be read as how many
    return ",".join(str(a) if a == b and not alone else f"{a}-{b}" for a, b in pieces)


def numbers(text: str) -> list[int]:
    """Return the seeds that a text names: ``20`` for 1 to 20, or such as ``1-20,101``."""
    if text.isdecimal():
        return list(range(1, int(text) + 1))
    found = []
    for piece in text.split(","):
        first, _, last = piece.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def main() -> int:
    """Run the command line; return 1 where a claim failed or a run did not end."""
    parser = argparse.ArgumentParser(prog="python -m mixbook.sweep", description=__doc__)
    parser.add_argument("chapters", nargs="*", help="names of chapters; default: all")
    parser.add_argument("--seeds", type=numbers, default=[], help="how many, or such as 1-20,101")
    parser.add_argument("--samplers", type=int, default=0, help="how many runs for tolerances")
    parser.add_argument("--jobs", type=int, default=2, help="chapters that run at a time")
    parser.add_argument("--run", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        chapter, seed, sampler = arguments.run
        record(Run(chapter, int(seed), int(sampler)))
        return 0
    chapters = arguments.chapters or [path.stem for path in sorted(CHAPTERS.glob("*.ipynb"))]
    runs = [Run(chapter, 0, k + 1) for k in range(arguments.samplers) for chapter in chapters]
    runs += [Run(chapter, seed, 0) for seed in arguments.seeds for chapter in chapters]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        list(pool.map(Run.start, runs))
    missing = [run for run in runs if not (run.path.exists() or run.is_known())]
    for run in missing:
        print(f"{run.chapter}: no record under seed {run.seed}, sampler {run.sampler}; see above")
    if arguments.samplers:
        for chapter in chapters:
            print(f"{chapter}: from {write_tolerances(chapter, arguments.samplers)} runs")
    failed = report(chapters) if arguments.seeds else 0
    return int(failed or bool(missing))


if __name__ == "__main__":
    sys.exit(main())
