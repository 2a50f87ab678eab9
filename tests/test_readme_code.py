"""The code that the landing page and the README invite readers to copy runs and does its job."""

import re

import arviz as az
import numpy as np
import pymc as pm
import pytest
from conftest import ROOT

import labelswitch
import mixscale
from mixbook import load_forum

pytestmark = pytest.mark.slow


def code_blocks(name: str) -> list[str]:
    """Return the Python blocks of a Markdown file."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)


@pytest.mark.filterwarnings("default")
def test_the_landing_page_s_model_finds_the_lines():
    (block,) = code_blocks("index.md")
    block = block.replace(
        "pm.sample(chains=4)", "pm.sample(400, tune=400, chains=4, random_seed=1, quiet=True)"
    )
    data = load_forum()
    names = {"x": data.x, "y": data.y}
    exec(block, names)
    posterior = names["fit"].posterior
    np.testing.assert_allclose(
        posterior["slopes"].mean(("chain", "draw")), [-1, 3], rtol=0, atol=0.04
    )
    assert float(posterior["sigma"].mean()) == pytest.approx(0.1, abs=0.01)


def test_the_landing_page_s_other_line_is_the_same_posterior():
    """The text below the model names a line of mixscale that may take the place of PyMC's."""
    (block,) = code_blocks("index.md")
    block = block[: block.index("    fit = pm.sample")]
    page = (ROOT / "index.md").read_text(encoding="utf-8")
    (other,) = re.findall(r"`(mixscale\.RegressionMixture\(.*?\))`", page)
    (line,) = re.findall(r"pm\.NormalMixture\(.*\)", block)
    data = load_forum()
    generator = np.random.default_rng(1)
    models = []
    for code in (
        block,
        block.replace(line, other),
        block.replace(line, other.replace("=x", "=-x")),
    ):
        names = {"x": data.x, "y": data.y, "mixscale": mixscale}
        exec(code, names)
        models.append(names["model"].compile_logp())
    for _ in range(5):
        point = {
            "weights_simplex__": generator.normal(size=1),
            "slopes_ordered__": generator.normal(size=2),
            "sigma_interval__": generator.normal(),
        }
        pymc, fast, wrong = (model(point) for model in models)
        assert fast == pytest.approx(pymc, rel=1e-11)
        assert wrong != pytest.approx(pymc, rel=1e-3)


@pytest.mark.filterwarnings("default")
def test_the_readme_s_two_calls_repair_the_labels():
    (block,) = code_blocks("README.md")
    # Chains that start on both sides, so that the labels switch whatever the machine.
    block = block.replace(
        "pm.sample(chains=4, random_seed=1549)",
        "pm.sample(300, tune=400, chains=4, random_seed=1, quiet=True, initvals=starts)",
    )
    data = load_forum()
    starts = [{"slopes": np.array(order)} for order in ([2.0, 0.0], [0.0, 2.0]) * 2]
    names = {"x": data.x, "y": data.y, "np": np, "pm": pm, "starts": starts}
    exec(block, names)
    assert float(az.rhat(names["dt"], var_names=["slopes"])["slopes"].max()) > 1.4
    relabelled = labelswitch.relabel(names["dt"], model=names["model"])
    assert float(az.rhat(relabelled.dt, var_names=["slopes"])["slopes"].max()) < 1.02
