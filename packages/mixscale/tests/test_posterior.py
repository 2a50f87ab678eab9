"""The posterior by NUTS is that of pm.NormalMixture, within Monte Carlo error."""

import numpy as np
import pytest
from models import model, nuts, rows

pytest.importorskip("nutpie")


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("case", ["plain", "three lines, own sigmas"])
def test_the_posterior_is_that_of_normal_mixture(case):
    y, x = rows(case, 400, seed=3)
    found = []
    for ours in (True, False):
        found.append(nuts(model(case, y, x, ours=ours), chains=2, cores=1, random_seed=1))
    for name in ("w", "b", "sigma"):
        left, right = (posterior[name] for posterior in found)
        sd = right.std(("chain", "draw"))
        # 2,000 draws of NUTS are worth about as many independent ones; 5 standard errors of the
        # difference of two means at half of that.
        assert (abs(left.mean(("chain", "draw")) - right.mean(("chain", "draw"))) < 0.22 * sd).all()
        assert (abs(np.log(left.std(("chain", "draw")) / sd)) < 0.2).all()
