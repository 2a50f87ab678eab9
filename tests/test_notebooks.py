"""The form of the stored notebooks: whatever nbval would pass without checking is refused."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT

from mixbook.claims import stored_claims
from mixbook.compare import VARIES, WITHIN, parts
from mixbook.execute import METADATA, is_current
from mixbook.figures import FINGERPRINT
from mixbook.form import flaws

NOTEBOOKS = sorted((ROOT / "chapters").glob("*.ipynb"))
MARKER = re.compile(r"^# NBVAL_[A-Z_]+$")
TAGS = {"hide-input", "hide-output", "remove-input", "remove-cell"}


def faults(notebook: nbformat.NotebookNode) -> list[str]:
    """Return what is wrong with the form of a notebook, one line for each fault."""
    found = []
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        found.append(f"execution counts are {counts}: nbval passes a cell without one unchecked")
    for number, cell in enumerate(code, start=1):
        where = f"code cell {number}"
        if not cell.source.strip():
            found.append(f"{where} is empty")
        for line in cell.source.splitlines():
            if "NBVAL" in line.upper() and not MARKER.match(line):
                found.append(f"{where}: nbval ignores the marker in {line!r}")
            if re.search(r"NBVAL_(IGNORE_OUTPUT|SKIP|RAISES_EXCEPTION)", line):
                found.append(f"{where}: {line.strip()!r} switches a check off")
        for tag in cell.metadata.get("tags", []):
            if tag not in TAGS:
                found.append(f"{where}: the tag {tag!r} is not one of {sorted(TAGS)}")
        images = 0
        for output in cell.outputs:
            if output.output_type == "error":
                found.append(f"{where} holds an error")
            if output.output_type == "stream" and output.name == "stderr":
                found.append(f"{where} holds text on stderr")
            data = output.get("data", {})
            images += any(kind.startswith("image/") for kind in data)
            if any("widget" in kind for kind in data):
                found.append(f"{where} holds a widget")
            text = json.dumps(
                [output.get("text", ""), *(v for k, v in data.items() if "image/" not in k)],
                ensure_ascii=False,
            )
            if re.search(r"/(home|root|work|tmp|Users)/|[A-Z]:\\\\", text):
                found.append(f"{where} holds a path of the machine that ran it")
            if "xarray.DataTree" in text or re.search(r"0x[0-9a-f]{8}", text):
                found.append(f"{where} holds a repr that differs from run to run")
            if re.search(r"\d+%\||it/s|Sampling \d+ chain", text):
                found.append(f"{where} holds a progress bar")
        if images:
            layout = cell.metadata.get("mystnb", {})
            if images > 1:
                found.append(f"{where} holds {images} images; give each a cell of its own")
            if len(layout.get("image", {}).get("alt", "")) < 30:
                found.append(f"{where} has a figure without an alt text")
            if len(layout.get("figure", {}).get("caption", "")) < 30:
                found.append(f"{where} has a figure without a caption")
    allowed = {**METADATA, "mixbook": notebook.metadata.get("mixbook")}
    if dict(notebook.metadata) != allowed:
        found.append(f"the notebook's metadata differ from {sorted(allowed)}")
    if not is_current(notebook):
        found.append("the outputs are older than the code or the data: run make execute")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_stored_form(path: Path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert faults(notebook) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_chapter_has_its_parts(path: Path):
    notebook = nbformat.read(path, as_version=4)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^##? (.+)$", text, flags=re.M)
    for heading in ("Overview", "Limits", "What this chapter established", "Exercises"):
        assert any(found.startswith(heading) for found in headings), heading
    exercises = re.findall(r"`{3,}\{exercise\}", text)
    assert 2 <= len(exercises) <= 4
    assert len(re.findall(r"`{3,}\{solution(?:-start)?\}", text)) == len(exercises)
    assert 1_200 <= len(text.split()) <= 5_000
    claims = [record["name"] for record in stored_claims(path)]
    assert len(claims) >= 3
    assert len(set(claims)) == len(claims)


def test_code_runs_no_random_number_outside_the_seeds():
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                assert not re.search(r"np\.random\.(?!Generator)", cell.source), path.name
                assert not re.search(r"random_seed=\d", cell.source), path.name


def test_no_number_is_glued_without_a_claim():
    """A claim glues its value; a number glued otherwise would be bounded by nothing."""
    for path in NOTEBOOKS:
        for cell in nbformat.read(path, as_version=4).cells:
            if cell.cell_type == "code":
                assert not re.search(r"\bglue\(", cell.source), path.name


def test_claims_are_written_with_care():
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        sources = [cell.source for cell in cells if cell.cell_type == "code"]
        assert flaws(sources) == [], path.name


def healthy() -> nbformat.NotebookNode:
    """Return a small notebook without faults, apart from its digest."""
    cell = nbformat.v4.new_code_cell("print(1)", execution_count=1)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text="1\n")]
    return nbformat.v4.new_notebook(cells=[cell], metadata={**METADATA, "mixbook": None})


def change(**changes):
    def apply(notebook):
        cell = notebook.cells[0]
        for key, value in changes.items():
            cell[key] = value

    return apply


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (change(execution_count=None), "execution counts"),
        (change(execution_count=3), "execution counts"),
        (change(source="# NBVAL_CHECK_OUTPUT and more\nprint(1)"), "ignores the marker"),
        (change(source="print(1)  # NBVAL_CHECK_OUTPUT"), "ignores the marker"),
        (change(source="# NBVAL_IGNORE_OUTPUT\nprint(1)"), "switches a check off"),
        (change(source=" "), "is empty"),
        (change(metadata={"tags": ["nbval_check_output"]}), "the tag"),
        (change(metadata={"tags": ["raises-exception"]}), "the tag"),
        (
            change(outputs=[nbformat.v4.new_output("stream", name="stderr", text="x")]),
            "stderr",
        ),
        (
            change(outputs=[nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]),
            "holds an error",
        ),
        (
            change(outputs=[nbformat.v4.new_output("stream", name="stdout", text="/home/me/x")]),
            "a path",
        ),
        (
            change(outputs=[nbformat.v4.new_output("display_data", {"image/png": "abc"})]),
            "without an alt text",
        ),
        (
            change(
                outputs=[nbformat.v4.new_output("display_data", {"application/vnd.widget": "abc"})]
            ),
            "a widget",
        ),
        (lambda notebook: notebook.metadata.pop("language_info"), "metadata"),
    ],
)
def test_a_fault_is_refused(spoil, message):
    notebook = healthy()
    before = faults(notebook)
    spoil(notebook)
    assert not any(message in fault for fault in before)
    assert any(message in fault for fault in faults(notebook))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_tolerances_belong_to_what_is_shown(path: Path):
    """A tolerance that fits nothing guards nothing, and an infinite one accepts all."""
    for cell in nbformat.read(path, as_version=4).cells:
        shown = parts(cell.get("outputs", []))
        for name, limits in cell.metadata.get(WITHIN, {}).items():
            if limits != VARIES:
                assert len(limits) == len(shown[name].numbers), name
                assert all(0 <= limit < float("inf") for limit in limits), name


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_figures_leave_a_record_of_what_they_draw(path: Path):
    for cell in nbformat.read(path, as_version=4).cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                assert any(axes["artists"] for axes in output.data[FINGERPRINT]["axes"])
