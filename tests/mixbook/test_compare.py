"""The comparison of what a cell shows with what is stored: what it notices, and what it lets be."""

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pandas as pd
import pytest

from mixbook import compare
from mixbook.compare import VARIES, agree, differences, parts, split
from mixbook.figures import FINGERPRINT, fingerprint
from mixbook.values import RECORD as VALUES


def stream(text):
    return nbformat.v4.new_output("stream", name="stdout", text=text)


def shown(**data):
    return nbformat.v4.new_output("display_data", {k.replace("_", "/"): v for k, v in data.items()})


def table(**columns):
    return shown(text_html=pd.DataFrame(columns).to_html(index=False))


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("sigma = 0.10", [0.1]),
        ("1,234 rows, −3 and +4e-05", [1234.0, -3.0, 4e-5]),
        ("w0, c2 and x_1 are names; #009e73 is a colour", []),
        ("1.5e+06 to 2", [1.5e6, 2.0]),
        ("[0.1, 0.2] (95%)", [0.1, 0.2, 95.0]),
        ("Python 3.13 · pymc 6.4", [3.0, 6.4]),
        ("a range 3-4", [3.0, 4.0]),
    ],
)
def test_numbers_are_found_in_text(text, numbers):
    assert split(text).numbers == numbers


def test_a_table_is_compared_cell_by_cell():
    old = table(name=["slope", "sigma"], mean=[3.0, 0.1], sd=[0.02, 0.01])
    assert differences([old], [old], {}) == []
    new = table(name=["slope", "sigma"], mean=[3.0, 0.1], sd=[0.02, 0.015])
    assert differences([old], [new], {}) == [
        "table, row 2 (sigma), column sd: stored 0.01, now 0.015, accepted exactly"
    ]
    within = {"table, row 2 (sigma), column sd": [0.006]}
    assert differences([old], [new], within) == []
    far = table(name=["slope", "sigma"], mean=[3.0, 0.1], sd=[0.02, 0.05])
    assert "accepted ± 0.006" in differences([old], [far], within)[0]


@pytest.mark.parametrize(
    "new",
    [
        table(name=["sigma", "slope"], mean=[3.0, 0.1]),  # the names of two rows exchanged
        table(name=["slope", "sigma"], sd=[3.0, 0.1]),  # the wrong header
        table(name=["slope"], mean=[3.0]),  # a row dropped
        table(name=["slope", "sigma", "w"], mean=[3.0, 0.1, 0.5]),  # a row more
        table(name=["slope", "sigma"], mean=[0.1, 3.0]),  # two rows exchanged
        table(name=["slope", "sigma"], mean=[3.0, float("nan")]),
    ],
)
def test_a_table_that_differs_is_noticed(new):
    assert differences([table(name=["slope", "sigma"], mean=[3.0, 0.1])], [new], {})


def test_text_is_compared_and_streams_are_joined():
    picture = table(name=["slope"], mean=[3.0])
    pieces = [stream("a 1\n"), picture, stream("b 2\n")]
    assert differences([stream("a 1\nb 2\n"), picture], pieces, {}) == []
    assert differences([stream("a 1\n")], [stream("c 1\n")], {})
    assert differences([stream("a 1\n")], [stream("c 2\n")], {"stdout, line 1": VARIES}) == []
    assert differences([stream("a\n")], [], {}) == ["stdout, line 1: is no longer shown"]
    assert differences([], [stream("a\n")], {}) == ["stdout, line 1: was not shown before: a"]


def test_the_tolerances_of_another_table_are_refused():
    old, new = stream("1 2\n"), stream("1 3\n")
    assert "run make tolerances" in differences([old], [new], {"stdout, line 1": [0.1]})[0]


def test_rounding_is_nothing_and_nan_equals_nan():
    assert agree(1e-12, -3e-16)
    assert not agree(1e-12, 1e-8)
    assert agree(np.nan, np.nan)
    assert not agree(np.nan, 1.0)
    assert not agree(1.0, np.nan, tolerance=9.0)
    assert agree(1.0, 1.5, tolerance=0.5)
    assert agree(np.inf, np.inf)
    assert not agree(np.inf, 1.0, tolerance=9.0)


def test_glued_numbers_have_their_names():
    glued = nbformat.v4.new_output(
        "display_data",
        {f"{compare.GLUED}text/plain": "0.25"},
        metadata={"scrapbook": {"name": "share"}},
    )
    assert parts([glued])["glued share"].numbers == [0.25]


def draw(**changes):
    """Return the record of a figure, drawn with some change."""
    given = {"x": np.arange(5.0), "y": np.array([0, 2, 1, 4, 3.0]), "bars": [1.0, 2.0]}
    given |= {"colour": "#0072B2", "title": "draws", "label": "steep", "scale": "linear"}
    given |= {"points": [1.0, 3.0, 2.0, 5.0], "category": "sigma", "band": [1.0, 2.0, 1.5]}
    given |= {"image": [[0.0, 1.0], [2.0, 3.0]], "rings": ["red", "blue"]}
    given |= {"ticks": ["9", "20"]} | changes
    figure, (left, middle, right) = plt.subplots(1, 3)
    left.plot(given["x"], given["y"], color=given["colour"], label=given["label"])
    left.scatter(range(4), given["points"], c=["red", "red", "blue", "blue"])
    left.set(title=given["title"], yscale=given["scale"])
    left.legend()
    middle.bar(["slope", given["category"]], given["bars"])
    middle.fill_between(range(3), 0, given["band"])
    right.imshow(given["image"])
    right.set(xticks=[0, 1], xticklabels=given["ticks"])
    right.text(0.5, 0.5, given["label"])
    for place, colour in enumerate(given["rings"]):
        right.add_patch(plt.Circle((place, 1), 0.5, fill=False, edgecolor=colour))
    record = fingerprint(figure)
    plt.close(figure)
    return nbformat.v4.new_output("display_data", {FINGERPRINT: record, "image/png": "x"})


@pytest.fixture(scope="module")
def drawn():
    return draw()


@pytest.mark.parametrize(
    "change",
    [
        {"y": np.array([0, 2, 1, 4, 3.5])},
        {"y": np.array([3, 4, 1, 2, 0.0])},  # reversed: the same values at other places
        {"y": np.array([0, 1, 2, 4, 3.0])},  # two inner values exchanged
        {"x": np.arange(5.0) + 1},
        {"colour": "#E69F00"},
        {"title": "sorted draws"},
        {"label": "flat"},
        {"bars": [2.0, 1.0]},
        {"scale": "symlog"},
        {"points": [3.0, 1.0, 5.0, 2.0]},
        {"category": "weight"},
        {"image": [[0.0, 1.0], [2.0, 4.0]]},
        {"band": [1.0, 2.0, 1.0]},
        {"rings": ["blue", "red"]},
        {"ticks": ["9", "30"]},
        {"y": np.array([0, np.nan, 1, 4, 3.0])},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_figure_is_compared_as_data(drawn, change):
    found = differences([drawn], [draw(**change)], {})
    assert found
    assert all(name.startswith("figure") for name in found)


def test_a_figure_within_its_tolerance(drawn):
    assert differences([drawn], [draw()], {}) == []
    old, new = drawn, draw(y=np.array([0, 2, 1, 4, 3.01]))
    within = {
        "figure, axes 1, Line2D 1, y": [0, 0] + [0.02] * 7,
        "figure, axes 1, Line2D 1, pairing": [0.02],
    }
    assert differences([old], [new], within) == []
    assert differences([old], [draw(y=np.array([0, 2, 1, 4, 3.1]))], within)


@pytest.mark.parametrize(
    ("old", "new", "limits", "count"),
    [
        ({"a": [3, 0.5]}, {"a": [3, 0.6]}, None, 1),
        ({"a": [3, 0.5]}, {"a": [3, 0.6]}, [0.2], 0),
        ({"a": [3, 0.5]}, {"a": [4, 0.5]}, [0.2], 1),
        ({"a": [3, 0.5]}, {"a": [4, 0.5]}, VARIES, 0),
        ({"a": [3, 0.5]}, {}, [0.2], 1),
        ({"a": [3, 0.5]}, {}, VARIES, 0),
        ({}, {"a": [3, 0.5]}, None, 0),  # a new name does no harm
        ({"a": [3, None]}, {"a": [3, 0.5]}, None, 0),  # chance may have counted it
        ({"a": [3, None]}, {"a": [2, 0.5]}, None, 1),
        ({"a": [3, 0.5]}, {"a": [3, None]}, None, 1),
        ({"a": [3, 0.5]}, {"a": [3, None]}, [0.2], 0),
    ],
)
def test_what_is_computed_is_compared(old, new, limits, count):
    within = {"value of a": limits} if limits else {}
    stored, now = ([shown(**{VALUES: record})] for record in (old, new))
    assert len(differences(stored, now, within)) == count
