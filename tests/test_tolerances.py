"""What stands below a table: by how much its numbers, and no others, may differ."""

import json
import sys
from types import SimpleNamespace

import nbformat
import pytest
from conftest import ROOT
from nbformat.v4 import new_code_cell, new_notebook, new_output

from mixbook.compare import VARIES, WITHIN, parts
from mixbook.figures import FINGERPRINT
from mixbook.values import RECORD


@pytest.fixture
def shown(monkeypatch):
    """Return a function: the outputs of a cell, as the page has them, from those stored."""
    monkeypatch.syspath_prepend(ROOT / "_ext")
    monkeypatch.delitem(sys.modules, "tolerances", raising=False)
    from tolerances import add_remarks

    app = SimpleNamespace(env=SimpleNamespace(doc2path=lambda name: f"{name}.ipynb"))

    def outputs(stored, within):
        cell = new_code_cell("", outputs=stored, metadata={WITHIN: within})
        source = [nbformat.writes(new_notebook(cells=[cell]))]
        add_remarks(app, "chapter", source)
        return json.loads(source[0])["cells"][0]["outputs"]

    return outputs


def table(*columns):
    header = "".join(f"<th>{column}</th>" for column in columns)
    row = "".join(f"<td>{i}.5</td>" for i, _ in enumerate(columns))
    return html(f"<table><tr>{header}</tr><tr>{row}</tr></table>")


def html(text, **others):
    return new_output("display_data", {"text/html": text, **others})


def below(output):
    return "".join(output["data"]["text/html"]).partition("</table>")[2]


def test_each_of_two_tables_says_its_own_tolerances(shown):
    one, two = table("mean", "sd"), table("mean", "ESS")
    within = {
        "table, row 1, column mean": [0.1],
        "table, row 1, column sd": VARIES,
        "table, row 1, column mean [2]": [20.0],
        "table, row 1, column ESS": [30.0],
        "claim a": [0.5],
    }
    assert set(within) - {"claim a"} <= set(parts([one, two]))
    first, second = map(below, shown([one, html("<p>A line.</p>"), two], within)[::2])
    assert first.endswith(" may differ by: mean ± 0.1; sd freely.</p>")
    assert second.endswith(" may differ by: mean ± 20; ESS ± 30.</p>")


def test_a_column_has_the_widest_tolerance_of_its_rows(shown):
    rows = "".join(f"<tr><td>{name}</td><td>0.5</td></tr>" for name in ("slope", "sigma"))
    one = html(f"<table><tr><th></th><th>a &lt; b</th></tr>{rows}</table>")
    within = {
        "table, row 1 (slope), column a < b": [0.25],
        "table, row 2 (sigma), column a < b": [0.125],
    }
    assert set(within) <= set(parts([one]))
    (output,) = shown([one], within)
    assert below(output).endswith(" may differ by: a &lt; b ± 0.25.</p>")


def test_the_numbers_of_chains_are_not_worth_a_word(shown):
    rows = "".join(f"<tr><td>{chain}</td><td>{chain}.25</td></tr>" for chain in (1, 2))
    one = html(f"<table><tr><th>chain</th><th>r-hat</th></tr>{rows}</table>")
    within = {
        f"table, row {chain}, column {name}": [0.01 * chain]
        for chain in (1, 2)
        for name in ("chain", "r-hat")
    }
    assert set(within) <= set(parts([one]))
    (output,) = shown([one], within)
    assert below(output).endswith(" may differ by: r-hat ± 0.02.</p>")


def test_an_exact_table_says_nothing(shown):
    one, two = table("K"), table("mean")
    first, second = shown([one, two], {"table, row 1, column mean": [0.5]})
    assert below(first) == ""
    assert "mean ± 0.5" in below(second)


def test_what_is_for_the_tests_is_not_on_the_page(shown):
    record = new_output("display_data", {RECORD: {}, "text/plain": ""})
    figure = html("<p>A figure.</p>", **{FINGERPRINT: {}})
    (output,) = shown([record, figure], {})
    assert set(output["data"]) == {"text/html"}
