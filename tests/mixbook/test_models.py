import numpy as np
import pymc as pm
import pytest
from scipy import stats
from scipy.special import expit

from mixbook.compare import parts
from mixbook.kernel import Kernel
from mixbook.models import RECORD, log_densities

pytest.importorskip("resource", reason="the campaign forks, which Windows cannot")
from mixbook.campaign import in_fork

CELL = """
import pymc as pm
with pm.Model() as model:
    shift = pm.Normal("shift", 0, {sd})
    pm.Normal("y", shift, 1, observed=[0.5])
"""


def test_densities_are_scipys_off_the_start():
    with pm.Model() as model:
        pm.Normal("slopes", 0, 2, shape=2)
        pm.Beta("share", 1, 3)
        pm.Poisson("count", 4, initval=3)
        pm.Potential("extra", model["slopes"].sum())
        pm.Normal("y", model["slopes"][0], 1, observed=[0.5, -1.0])
    found = log_densities(model)
    logit = np.log(0.25 / 0.75) + 0.3  # the prior's mean is one quarter
    share = expit(logit)
    expected = {
        "slopes": stats.norm.logpdf([0.3, 0.4], 0, 2).sum(),
        "share": stats.beta.logpdf(share, 1, 3) + np.log(share * (1 - share)),
        "count": stats.poisson.logpmf(3, 4),
        "extra": 0.7,
        "y": stats.norm.logpdf([0.5, -1.0], 0.3, 1).sum(),
    }
    assert found == pytest.approx(expected, rel=1e-7)  # PyMC writes constants with eleven digits


def test_what_is_random_is_left_out():
    rows = np.arange(100.0)
    with pm.Model() as model:
        shift = pm.Normal("shift", 0, 2)
        pm.Normal("y", shift, 1, observed=pm.Minibatch(rows, batch_size=10), total_size=100)
    assert list(log_densities(model)) == ["shift"]


def check_records() -> str:
    kernel = Kernel()

    def records(source):
        outputs, error = kernel.run(source)
        assert error is None
        return [output.data[RECORD] for output in outputs if RECORD in output.get("data", {})]

    records("import pymc, mixbook\nmixbook.use_style()\nmixbook.use_style()")
    ((first,),) = records(CELL.format(sd=2))
    assert first == pytest.approx(
        {"shift": stats.norm.logpdf(0.3, 0, 2), "y": stats.norm.logpdf(0.5, 0.3, 1)}, rel=1e-5
    )
    ((other,),) = records(CELL.format(sd=4))
    assert other["shift"] != first["shift"]
    assert records("with model:\n    pass") == []
    ((longer,),) = records('with model:\n    pm.Potential("half", shift / 2)')
    assert longer["half"] == pytest.approx(0.15)
    assert (
        records("try:\n    with pm.Model():\n        1 / 0\nexcept ZeroDivisionError: pass") == []
    )
    ((one, two),) = records(CELL.format(sd=1) + CELL.format(sd=3))
    assert one["shift"] > two["shift"]
    ((outside,),) = records(
        "with pm.Model():\n    pm.HalfNormal('a', default_transform=None, initval=-1)"
    )
    assert outside == {"a": "-inf"}
    return "checked"


def test_a_cell_leaves_a_record_of_the_models_that_it_builds():
    assert in_fork(check_records) == "checked"  # no other test shall find a shell


def test_a_record_is_compared_by_model_and_variable():
    record = [{"a": -1.5}, {"a": -2.5, "y": "-inf"}]
    found = parts([{"output_type": "display_data", "data": {RECORD: record}}])
    assert found["model 2, log density of a"] == ("", [-2.5])
    assert found["model 2, log density of y"] == ("-inf", [])
    assert len(found) == 3
