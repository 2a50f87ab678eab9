"""Put the faults of the forum thread back into copies of the chapters and expect claims to fail.

Run by ``make test``, and alone by ``make mutants``. A fault that no claim notices is a defect of
the claims.
"""

import re
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT

JOINT = r"x_batch, y_batch = pm\.Minibatch\(x, y, batch_size=128\)"
APART = "x_batch, y_batch = (pm.Minibatch(x, batch_size=128), pm.Minibatch(y, batch_size=128))"
# chapter, fault, what stands there, what the fault makes of it
MUTANTS = [
    ("02_log_density", "log slip", r"\+ 2 \* pt\.log\(sigma\)", "+ pt.log(sigma)"),
    ("02_log_density", "sum", r"pt\.square\(delta\) /", "pt.square(delta).sum() /"),
    ("02_log_density", "separate minibatches", JOINT, APART),
    ("02_log_density", "no total_size", r", total_size=n\)", ")"),
    ("06_variational", "separate minibatches", JOINT, APART),
    ("06_variational", "no total_size", r"total_size=len\(x\)", "total_size=None"),
    ("07_comparison", "separate minibatches", JOINT, APART),
]


@pytest.mark.parametrize(
    ("chapter", "fault", "right", "wrong"), MUTANTS, ids=lambda value: value[:20]
)
def test_claims_notice_the_fault(tmp_path, chapter, fault, right, wrong):
    notebook = nbformat.read(ROOT / "chapters" / f"{chapter}.ipynb", as_version=4)
    changed = 0
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source, count = re.subn(right, wrong, cell.source)
            changed += count
    assert changed, f"{chapter} no longer contains {right!r}: bring this list up to date"
    copy = tmp_path / f"{chapter}.ipynb"
    nbformat.write(notebook, copy)
    command = [sys.executable, "-m", "pytest", "-c", ROOT / "tests" / "nbval.ini", "--nbval-lax"]
    run = subprocess.run(
        [*command, "--rootdir", tmp_path, "-x", copy],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1, run.stdout[-2000:]
    assert "ClaimError" in run.stdout, run.stdout[-2000:]
