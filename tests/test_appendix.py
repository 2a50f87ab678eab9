"""The appendix on PyMC3: what it says to fail fails, and what it says to write works."""

import re

import arviz as az
import numpy as np
import pymc as pm
import pytest
from conftest import ROOT
from scipy import stats

TEXT = (ROOT / "pymc3_to_pymc6.md").read_text(encoding="utf-8")


def test_what_is_said_to_be_silent_is_silent():
    with pm.Model() as model:
        old_sd = pm.Normal("old_sd", 0, sd=2)
        pm.Normal("old_start", 0, 1, testval=5)
        pm.Normal("new_start", 0, 1, initval=5)
    assert pm.logp(old_sd, 2.0).eval() == pytest.approx(-0.5 * np.log(2 * np.pi) - 2.0)
    start = model.initial_point()
    assert start["old_start"] == 0
    assert start["new_start"] == 5
    for old, one in (
        (pm.HalfNormal.dist(sd=2), stats.halfnorm()),
        (pm.StudentT.dist(3, sd=2), stats.t(3)),
        (pm.TruncatedNormal.dist(0, sd=2), stats.norm()),
    ):
        assert pm.logp(old, 1.5).eval() == pytest.approx(one.logpdf(1.5))
    rows = np.arange(1000)
    x_apart, y_apart = pm.Minibatch(rows, batch_size=128), pm.Minibatch(rows, batch_size=128)
    assert (np.not_equal(*pm.draw([x_apart, y_apart]))).any()
    x_batch, y_batch = pm.Minibatch(rows, rows, batch_size=128)
    np.testing.assert_array_equal(*pm.draw([x_batch, y_batch]))


@pytest.mark.filterwarnings("ignore:DensityDist has been deprecated:FutureWarning")
@pytest.mark.parametrize(
    "old",
    [
        lambda: pm.NormalMixture.dist(w=[0.5, 0.5], mu=[0, 1], sd=1),
        lambda: pm.Minibatch(np.ones(9), 3),
        lambda: pm.DensityDist("y", lambda value: -(value**2), observed=np.ones(3)),
        lambda: pm.callbacks,
        lambda: pm.distributions.transforms.stick_breaking,
        lambda: pm.sample_ppc,
        lambda: pm.Model().logpt,
        lambda: pm.Model().test_point,
        lambda: pm.traceplot,
        lambda: pm.forestplot,
    ],
)
def test_what_is_said_to_fail_fails(old):
    with pm.Model(), pytest.raises((AttributeError, TypeError)):
        old()


def test_what_is_said_to_be_written_exists():
    names = set(re.findall(r"`(?:x_batch, y_batch = )?((?:pm|az)\.[A-Za-z_.]+)", TEXT))
    gone = {
        "pm.DensityDist",  # still an alias of CustomDist, but called otherwise
        "pm.callbacks.CheckParametersConvergence",
        "pm.distributions.transforms.stick_breaking",
        "pm.forestplot",
        "pm.sample_ppc",
        "pm.traceplot",
        "az.InferenceData",
    }
    assert gone < names
    for name in names - gone:
        thing = {"pm": pm, "az": az}[name[:2]]
        for part in name[3:].split("."):
            thing = getattr(thing, part)
