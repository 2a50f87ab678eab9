import nbformat
import pytest

from mixbook import execute


def notebook(*sources: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text) for text in sources])


def test_the_digest_sees_code_and_data_but_not_layout(tmp_path, monkeypatch):
    digest = execute.digest(notebook("a = 1", "b = 2"))
    assert digest == execute.digest(notebook("a   =  1  # one", "b = (\n    2\n)"))
    assert digest != execute.digest(notebook("a = 1", "b = 3"))
    assert digest != execute.digest(notebook("a = 1\nb = 2"))
    monkeypatch.setattr(execute, "ROOT", tmp_path)
    (tmp_path / "data").mkdir()
    reads, other = notebook("load_table('rows')"), notebook("a = 1")
    without, without_rows = execute.digest(reads), execute.digest(other)
    (tmp_path / "data" / "rows.csv").write_text("x\n1\n")
    with_rows = execute.digest(reads)
    (tmp_path / "data" / "rows.csv").write_text("x\n2\n")
    assert len({without, with_rows, execute.digest(reads)}) == 3
    assert execute.digest(other) == without_rows

    shows = notebook("read('benchmarks/race.json')")
    (tmp_path / "benchmarks").mkdir()
    seen = set()
    for content in ("{}", "[]"):
        (tmp_path / "benchmarks" / "race.json").write_text(content)
        seen.add(execute.digest(shows))
    assert len(seen) == 2
    assert execute.digest(other) == without_rows


@pytest.mark.filterwarnings("ignore")
def test_a_chapter_is_stored_only_if_it_runs_cleanly(tmp_path):
    path = tmp_path / "00_try.ipynb"
    nbformat.write(notebook("a = 1 + 1\nprint(a)"), path)
    execute.execute(path)
    stored = nbformat.read(path, as_version=4)
    assert stored.cells[0].outputs[0].text == "2\n"
    assert stored.cells[0].execution_count == 1
    assert execute.is_current(stored)

    for source, message in (
        ("import sys\nprint('oh', file=sys.stderr)", "wrote to stderr"),
        (
            "class Sick:\n    _repr_html_ = lambda self: 1 / 0\ndisplay(Sick())",
            "shows an error: division",
        ),
    ):
        stored.cells[0].source = source
        nbformat.write(stored, path)
        before = path.read_bytes()
        with pytest.raises(RuntimeError, match=message):
            execute.execute(path)
        assert path.read_bytes() == before
        assert not execute.is_current(nbformat.read(path, as_version=4))
