import dataclasses
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from mixbook.compare import differences, parts
from mixbook.kernel import Kernel
from mixbook.values import LEAVES, RECORD, arrays, assigned, weighted_mean

pytest.importorskip("resource", reason="the campaign forks, which Windows cannot")
from mixbook.campaign import in_fork


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("a, (b, *c) = 1, (2, 3)\nd += 1\ne: float = 2", "a b c d e"),
        ("with model as m:\n    for i in x:\n        y = i", "m i y"),
        ("table.loc[0, 'mean'] = 2\nfit['a'].flag = 3", "table fit"),
        ("rows.append(1)\nlog['a'].update(b)", "rows log"),
        ("if (size := 3) > 2:\n    pass", "size"),
        ("_, right = 1, 2", "right"),
        ("def f(x):\n    y = x\n    return y", ""),
        ("class A:\n    x = 1", ""),
        ("[i for i in x]; f(lambda: (k := 1))", "f"),
        ("import numpy as np\nf(x)[0]", ""),
        ("a = 1\nb = 2\na = 3", "a b"),
    ],
)
def test_names_that_code_binds_or_changes(source, names):
    assert assigned(source) == names.split()


def test_the_mean_knows_order_and_scale():
    x = np.random.default_rng(1).normal(3, 1, (4, 1000, 2))
    i, j, k = np.indices(x.shape)
    weights = (1 + i / 4) * (1 + j / 1000) * (1 + k / 2)
    assert weighted_mean(x) == pytest.approx((weights * x).mean(), rel=1e-5)
    others = [x[::-1], x[:, ::-1], x[..., ::-1], 1.001 * x, x + 0.001, np.sort(x, axis=None)]
    assert len({weighted_mean(each) for each in [x, *others]}) == 7


def test_the_mean_of_what_has_no_mean():
    assert weighted_mean(np.array([])) == 0
    assert weighted_mean(np.array([1.0, np.nan])) == 0.5
    assert weighted_mean(np.array([np.inf, 1.0])) == 0.75
    assert weighted_mean(np.array(-3e-7)) == 0
    assert weighted_mean(np.array(2.5, dtype="float32")) == 2.5


def test_arrays_are_found_where_a_chapter_keeps_them():
    pair = namedtuple("pair", "mean count")
    data_class = dataclasses.make_dataclass("Fit", ["loss", "name"])
    data_class.__module__ = "labelswitch.fits"
    of_others = dataclasses.make_dataclass("Program", ["data"])
    of_others.__module__ = "nutpie"
    draws = xr.Dataset({"mu": ("draw", [0.5, 1.5]), "z": ("draw", [0, 1])})
    tree = xr.DataTree.from_dict({"posterior": draws, "sample_stats": draws})
    value = {
        "list": [1, 2.5],
        "lists": [[0.5], np.ones((2, 2))],
        "table": pd.DataFrame({"sd": [0.1, 0.2], "name": ["a", "b"], "n": [1, 2]}),
        "column": pd.Series([0.1, 0.2]),
        "pair": pair(0.25, 3),
        "fit": data_class(np.zeros(3), "em"),
        "program": of_others({"hash": 1.5}),
        "tree": tree,
        "many": draws.chunk(),
        "class": data_class,
        test_the_mean_of_what_has_no_mean: 1.5,
        "text": "0.5",
        "whole": np.arange(3),
    }
    found = dict(arrays(value, "x"))
    assert {name: array.tolist() for name, array in found.items()} == {
        "x['list']": [1.0, 2.5],
        "x[<function test_the_mean_of_what_has_no_mean>]": 1.5,
        "x['lists'][0]": [0.5],
        "x['lists'][1]": [[1.0, 1.0], [1.0, 1.0]],
        "x['table']['sd']": [0.1, 0.2],
        "x['column']": [0.1, 0.2],
        "x['pair']['mean']": 0.25,
        "x['fit']['loss']": [0.0, 0.0, 0.0],
        "x['tree']['/posterior']['mu']": [0.5, 1.5],
    }


def check_records() -> str:
    kernel = Kernel()

    def run(source):
        outputs, error = kernel.run(source)
        records = [output.data[RECORD] for output in outputs if RECORD in output.get("data", {})]
        return records, outputs, error

    run("import numpy as np, mixbook\nmixbook.use_style()\nmixbook.use_style()")
    (record,), outputs, _ = run("x = np.array([1, 2]) / 11; n = 3; share = 1 / 7; half = x / 2")
    assert record == {"x": [2, 0.181818], "share": [None], "half": [2, 0.0909091]}
    (record,), others, _ = run("x[0] = 3 / 11; half")
    assert record == {"x": [2, 0.272727]}
    assert run("x")[0] == run("y = x; 1 / 0")[0] == []
    (record,), _, _ = run(f"rows = [np.array([1 / 11]) for i in range({LEAVES + 10})]")
    assert len(record) == LEAVES
    assert parts(outputs)["value of x"] == ("shape [2]", [0.181818])
    found = differences(outputs, others, {"value of half": "varies"})
    assert "value of x: stored 0.181818, now 0.272727, accepted exactly" in found
    return "checked"


def test_a_cell_leaves_a_record_of_what_it_computes():
    assert in_fork(check_records) == "checked"  # no other test shall find a shell
