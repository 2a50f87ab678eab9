"""Run the chapters with one fault at a time, and see whether the book notices: ``make mutants``.

A mutant is judged as the suite judges a chapter: by the form of its code, and by what a cell shows,
which is compared with what is stored as soon as it has run. The first fault of form, difference,
failed claim or other exception kills the mutant.

A chapter runs once, and at each cell the process forks the mutants of that cell, so that nothing
before the fault runs twice. The equivalent mutants are the control: they run to the end of their
chapter in a fork, and where one is killed, the campaign fails. Verdicts are kept in
``.mutants.jsonl``, so that a campaign that was interrupted goes on where it stopped. A verdict
stands for as long as what it rests on: the code up to the cell that noticed the mutant, and the
tolerances or claims of that cell.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import nbformat

from mixbook.claims import ClaimError
from mixbook.compare import WITHIN, differences
from mixbook.execute import ROOT, bare
from mixbook.form import flaws
from mixbook.kernel import Kernel
from mixbook.mutants import (
    GOAL,
    KINDS,
    LISTS,
    REPORT,
    Mutant,
    code_cells,
    drawn,
    score,
    written,
)

VERDICTS = ROOT / ".mutants.jsonl"
CELL_SECONDS = 300  # of processor time, as the suite allows a cell, which has one core there
MEMORY = 16 * 2**30  # bytes of address space that a mutant may take
ANSWER = 2_000  # bytes of an answer that are kept; a pipe holds more
NOTICING_CELL = re.compile(r"\w+: cell (\d+): ")  # how an answer of `judge` begins


def form(cells: list[nbformat.NotebookNode], cell: int, source: str) -> str:
    """Return what the tests of the stored notebooks say of a cell with `source` in its place."""
    others = [each.source for number, each in enumerate(cells) if number != cell]
    with contextlib.suppress(SyntaxError):  # which running it will notice
        if found := flaws([source, *others]):
            return f"form: cell {cell}: {found[0]}"
    return ""


def judge(kernel: Kernel, cells: list[nbformat.NotebookNode], first: int, source: str) -> str:
    """Run the cells from `first` on, with `source` in its place; return what the book noticed.

    That is nothing where all cells show what is stored.
    """
    for number in range(first, len(cells)):
        signal.setitimer(signal.ITIMER_PROF, CELL_SECONDS)  # ends the process, as the alarm does
        signal.alarm(4 * CELL_SECONDS)  # for one that waits for ever
        outputs, error = kernel.run(source if number == first else cells[number].source)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        if error is not None:
            kind = "claim" if isinstance(error, ClaimError) else "exception"
            return f"{kind}: cell {number}: {type(error).__name__}: {error}"
        within = cells[number].metadata.get(WITHIN, {})
        if found := differences(cells[number].outputs, outputs, within):
            return f"difference: cell {number}: {found[0]}"
    return ""


def in_fork(function: Callable[[], str]) -> str:
    """Run a function in a fork of this process; return its answer, or what ended the fork."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        # A sampler leaves threads; the equivalent mutants show that they do no harm.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        try:
            answer = function()
        except BaseException as error:
            answer = f"exception: outside the cells: {error!r}"
        os.write(write, answer.encode()[:ANSWER] + b"\0")
        os._exit(0)
    os.close(write)
    _, status = os.waitpid(child, 0)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what the fork may have started
    with open(read, encoding="utf-8", errors="replace") as pipe:
        answer = pipe.read()
    if answer.endswith("\0"):
        return answer[:-1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGPROF, signal.SIGALRM):
        return f"time: a cell ran for more than {CELL_SECONDS} s"
    return f"crash: the process ended with status {status}"


def rests_on(noticed: str, cells: list[nbformat.NotebookNode]) -> str:
    """Return the digest of what a verdict rests on: the cells up to the one that noticed, or all.

    Their code counts. So does the tolerance of the part that differed where it was a difference,
    and the sentences and limits of the cell's claims where one of them fell: other parts and
    earlier cells could only have noticed earlier. Where nothing noticed, all tolerances count.
    """
    cell = NOTICING_CELL.match(noticed)
    last = int(cell[1]) if cell else len(cells) - 1
    summary = hashlib.sha256()
    for number, each in enumerate(cells[: last + 1]):
        code = bare(each.source, limits=noticed.startswith("claim") and number == last)
        within = each.metadata.get(WITHIN, {})
        if noticed:
            differed = noticed.removeprefix(f"difference: cell {number}: ")
            within = {name: limit for name, limit in within.items() if differed.startswith(name)}
        summary.update(json.dumps([code, within]).encode() + b"\0")
    return summary.hexdigest()[:16]


def verdicts(chapter: str) -> dict[tuple[int, str], str]:
    """Return what noticed the mutants of a chapter, by their cells and sources, as far as known."""
    cells = code_cells(chapter)
    lines = VERDICTS.read_text(encoding="utf-8").splitlines() if VERDICTS.exists() else []
    return {
        (record["cell"], record["source"]): record["noticed"]
        for record in map(json.loads, lines)
        if record["chapter"] == chapter and record["digest"] == rests_on(record["noticed"], cells)
    }


def run_chapter(chapter: str, mutants: list[Mutant]) -> None:
    """Run those mutants of a chapter on which there is no verdict, and keep their verdicts.

    Raises
    ------
    RuntimeError
        If a cell of the unchanged chapter does not show what is stored.
    """
    cells, kept = code_cells(chapter), verdicts(chapter)
    waiting = [mutant for mutant in mutants if (mutant.cell, mutant.source) not in kept]
    if not waiting:
        return
    os.chdir(ROOT / "chapters")
    kernel = Kernel()
    for number in range(max(mutant.cell for mutant in waiting) + 1):
        for mutant in [mutant for mutant in waiting if mutant.cell == number]:
            start = time.monotonic()
            answer = form(cells, number, mutant.source) or in_fork(
                lambda: judge(kernel, cells, number, mutant.source)  # noqa: B023
            )
            seconds = round(time.monotonic() - start)
            digest = rests_on(answer, cells)
            record = {"digest": digest, "noticed": answer, "seconds": seconds}
            with VERDICTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record | mutant._asdict(), ensure_ascii=False) + "\n")
            answer = " ".join(answer.split())[:100] or "SURVIVES"
            print(f"{chapter}: {mutant.imitates}: {answer}", flush=True)
        if found := judge(kernel, cells[: number + 1], number, cells[number].source):
            raise RuntimeError(f"the unchanged {chapter} does not show what is stored: {found}")


def summary(chapter: str, mutants: list[Mutant]) -> dict:
    """Return what the verdicts say about a chapter's mutants, for the report.

    Returns
    -------
    dict
        For each kind the numbers of mutants ``killed`` and ``tried``, equivalent ones left out;
        how often each means ``noticed`` one; ``survivors`` and ``equivalents`` with their reasons.
    """
    kept = verdicts(chapter)
    result = {kind: {"killed": 0, "tried": 0} for kind in KINDS}
    result |= {"noticed": {}, "survivors": [], "equivalents": []}
    for mutant in mutants:
        noticed = kept[mutant.cell, mutant.source]
        why, _, reason = mutant.excuse.partition(": ")
        entry = {"kind": mutant.kind, "imitates": mutant.imitates, "reason": reason}
        if why == "equivalent":
            result["equivalents"].append(entry | {"noticed": noticed})
            continue
        result[mutant.kind]["tried"] += 1
        if noticed:
            result[mutant.kind]["killed"] += 1
            means = noticed.split(":")[0]
            result["noticed"][means] = result["noticed"].get(means, 0) + 1
        else:
            result["survivors"].append(entry)
    return result


def main() -> int:
    """Run the command line; return 1 where too few mutants were killed."""
    parser = argparse.ArgumentParser(prog="python -m mixbook.campaign", description=__doc__)
    parser.add_argument("chapters", nargs="*", help="names of chapters; default: all")
    parser.add_argument("--sample", action="store_true", help="only the mutants marked as sample")
    parser.add_argument("--jobs", type=int, default=2, help="chapters that run at a time")
    arguments = parser.parse_args()
    chapters = arguments.chapters or [path.stem for path in sorted(LISTS.glob("*.toml"))]
    mutants = {chapter: written(chapter) for chapter in chapters}
    if arguments.sample:
        mutants = {
            chapter: [mutant for mutant in members if mutant.sample]
            for chapter, members in mutants.items()
        }
    else:
        mutants = {chapter: members + drawn(chapter) for chapter, members in mutants.items()}
    if len(chapters) == 1:
        run_chapter(chapters[0], mutants[chapters[0]])
    else:  # each in a process of its own: no chapter may see what another left behind
        command = [sys.executable, "-m", "mixbook.campaign"] + ["--sample"] * arguments.sample
        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(lambda chapter: subprocess.run([*command, chapter]), chapters))
    for chapter in chapters:
        kept = verdicts(chapter)
        if any((mutant.cell, mutant.source) not in kept for mutant in mutants[chapter]):
            print(f"{chapter}: not finished; see above", file=sys.stderr)
            return 2
    return report(mutants, store=not arguments.sample)


def report(mutants: dict[str, list[Mutant]], store: bool) -> int:
    """Print and store the outcome; return 1 where too few were killed, or a control was."""
    results = {
        chapter: summary(chapter, members) for chapter, members in mutants.items() if members
    }
    for chapter, result in results.items():
        print(f"{chapter}: {score(result):.1%} of the mutants that change anything are killed")
        for survivor in result["survivors"]:
            print(f"  survives: {survivor['imitates']} ({survivor['reason'] or 'no reason yet'})")
        for control in result["equivalents"]:
            if control["noticed"]:
                print(f"  is not equivalent: {control['imitates']}: {control['noticed']}")
    if store:  # beside what is known of other chapters
        known = json.loads(REPORT.read_text(encoding="utf-8")) if REPORT.exists() else {}
        text = json.dumps(dict(sorted((known | results).items())), indent=1, ensure_ascii=False)
        REPORT.write_text(text + "\n", encoding="utf-8")
    return int(
        any(
            score(result) < GOAL or any(control["noticed"] for control in result["equivalents"])
            for result in results.values()
        )
    )


if __name__ == "__main__":
    sys.exit(main())
