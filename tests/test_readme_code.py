"""The code that the landing page and the README invite readers to copy runs and does its job."""

import re

import numpy as np
import pytest
from conftest import ROOT

from mixbook import load_forum


def code_blocks(name: str) -> list[str]:
    """Return the Python blocks of a Markdown file."""
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)


@pytest.mark.filterwarnings("default")
def test_the_landing_page_s_model_finds_the_lines():
    (block,) = code_blocks("index.md")
    block = block.replace("pm.sample()", "pm.sample(400, tune=400, random_seed=1, quiet=True)")
    data = load_forum()
    names = {"x": data.x, "y": data.y}
    exec(block, names)
    posterior = names["fit"].posterior
    np.testing.assert_allclose(
        posterior["slopes"].mean(("chain", "draw")), [-1, 3], rtol=0, atol=0.04
    )
    assert float(posterior["sigma"].mean()) == pytest.approx(0.1, abs=0.01)
