"""The lists of mutants fit the chapters as they are, and the stored report is complete."""

import ast

import pytest

from mixbook.mutants import LISTS, changes, code_cells, drawn, written

CHAPTERS = [path.stem for path in sorted(LISTS.glob("*.toml"))]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_list_fits_the_chapter(chapter):
    """Each text is found once, and each mutant is a program that differs from the chapter's."""
    sources = [cell.source for cell in code_cells(chapter)]
    mutants = written(chapter)
    for mutant in mutants + drawn(chapter):
        before, after = ast.parse(sources[mutant.cell]), ast.parse(mutant.source)
        assert ast.unparse(before) != ast.unparse(after), mutant.imitates
        assert len(mutant.imitates) >= 5
    assert len({(mutant.cell, mutant.source) for mutant in mutants}) == len(mutants) >= 10
    assert any(mutant.excuse.startswith("equivalent") for mutant in mutants)  # the control


def test_there_are_enough_of_them():
    mutants = [mutant for chapter in CHAPTERS for mutant in written(chapter)]
    assert len(mutants) >= 150
    assert sum(mutant.sample for mutant in mutants) >= 20

    assert sum(mutant.kind == "shown" for mutant in mutants) >= 40
    assert sum(mutant.kind == "check" for mutant in mutants) >= 40


def test_a_text_that_is_gone_is_refused(monkeypatch):
    monkeypatch.setattr(
        "mixbook.mutants.read_list",
        lambda chapter: {"check": [{"right": "no such text", "wrong": "", "imitates": "none"}]},
    )
    with pytest.raises(ValueError, match="occurs 0 times"):
        written(CHAPTERS[0])


def test_the_operators_make_what_they_say():
    source = "a = f(x, y, sd=2.0)\nb = x < y\nclaim('é', g(1), at_most=3, name='n')\nglue('m', 4)"
    made = {change: ast.unparse(ast.parse(new)) for change, new in changes(source)}
    assert made == {
        "f(x, y, sd=2.0) → f(x, y)": source.replace(", sd=2.0", ""),
        "f(x, y, sd=2.0) → f(y, x, sd=2.0)": source.replace("x, y,", "y, x,"),
        "f(x, y, sd=2.0) → x": source.replace("f(x, y, sd=2.0)", "x"),
        "2.0 → 3.0": source.replace("2.0", "3.0"),
        "x < y → x >= y": source.replace("<", ">="),
        "g(1) → 1": source.replace("g(1)", "1"),
        "1 → 2": source.replace("g(1)", "g(2)"),
    }


def test_the_draw_is_that_of_the_seed():
    chapter = CHAPTERS[1]
    assert drawn(chapter) == drawn(chapter)
    assert drawn(chapter, seed=1) != drawn(chapter)
    assert drawn(chapter, count=3) == drawn(chapter)[:3]
