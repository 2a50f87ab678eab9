"""Run chapters in fresh kernels and store their outputs: ``make execute``.

A chapter is run when its code, a file of ``data/`` or a benchmark's results that it names changed
since its outputs were stored, which a digest in the notebook's metadata tells; ``--all`` runs every
chapter.
"""

import argparse
import ast
import functools
import hashlib
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from mixbook.claims import without_limits

ROOT = Path(__file__).resolve().parents[2]
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


@functools.cache
def bare(source: str, limits: bool = True) -> str:
    """Return the code of a cell without comments and layout, and without limits of its claims."""
    tree = ast.parse(source)
    return ast.unparse(tree if limits else without_limits(tree))


def digest(notebook: nbformat.NotebookNode, limits: bool = True) -> str:
    """Return a digest of the code of a notebook and of the stored data and results that it names.

    Comments and layout do not count, so that a formatter does not make outputs old; nor do, where
    `limits` is false, the sentences and limits of claims.
    """
    summary = hashlib.sha256()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            summary.update(bare(cell.source, limits).encode() + b"\0")
    code = "".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    named = [path for path in sorted((ROOT / "data").glob("*.csv")) if path.stem in code]
    for folder in ("benchmarks", "packages/*/benchmarks"):
        results = sorted(ROOT.glob(f"{folder}/*.json"))
        named += [path for path in results if path.relative_to(ROOT).as_posix() in code]
    for path in named:
        summary.update(path.name.encode() + path.read_bytes().replace(b"\r\n", b"\n"))
    return summary.hexdigest()[:16]


def is_current(notebook: nbformat.NotebookNode) -> bool:
    """Tell whether the stored outputs belong to the notebook's code and data."""
    return (notebook.metadata.get("mixbook") or {}).get("digest") == digest(notebook)


def execute(path: Path) -> None:
    """Run one notebook and store it with its outputs; on failure the file stays as it is.

    Raises
    ------
    nbclient.exceptions.CellExecutionError
        If a cell raises, a claim included.
    RuntimeError
        If a cell writes to standard error, or what it shows cannot be formatted.
    """
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        notebook,
        timeout=600,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--IPKernelApp.log_level=ERROR"],  # it warns of its own sockets
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", []):
            if output.output_type == "error":  # of a formatter: the cell itself did not raise
                raise RuntimeError(f"{path.name}, cell {number} shows an error: {output.evalue}")
            if output.output_type == "stream" and output.name == "stderr":
                raise RuntimeError(f"{path.name}, cell {number} wrote to stderr:\n{output.text}")
    notebook.metadata = nbformat.from_dict(METADATA | {"mixbook": {"digest": digest(notebook)}})
    nbformat.write(notebook, path)


def main() -> int:
    """Run the command line; return 1 where a chapter failed."""
    parser = argparse.ArgumentParser(prog="python -m mixbook.execute", description=__doc__)
    parser.add_argument("chapters", nargs="*", type=Path, help="notebooks; default: all of them")
    parser.add_argument("--all", action="store_true", help="also those that are current")
    arguments = parser.parse_args()
    if os.environ.get("MIXBOOK_SEED", "0") != "0":
        parser.error("unset MIXBOOK_SEED: the stored outputs are those of the book's own seed.")
    failed = 0
    for path in arguments.chapters or sorted((ROOT / "chapters").glob("*.ipynb")):
        if is_current(nbformat.read(path, as_version=4)) and not arguments.all:
            print(f"{path.stem}: current")
            continue
        print(f"{path.stem}: ", end="", flush=True)
        start = time.perf_counter()
        try:
            execute(path)
        except (CellExecutionError, RuntimeError) as error:
            failed = 1
            print(f"FAILED\n{error}", flush=True)
        else:
            print(f"stored after {time.perf_counter() - start:.0f} s", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
