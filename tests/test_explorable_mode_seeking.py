"""The interactive figure of chapter 8, in a browser: its numbers, its words, its keys."""

import nbformat
import numpy as np
import pytest
from conftest import ROOT, SITE
from scipy import integrate, optimize, stats
from visits import opened

pytestmark = pytest.mark.slow

PAGE = "chapters/08_mode_seeking.html"
NOTEBOOK = ROOT / "chapters" / "08_mode_seeking.ipynb"
COVERING, ONE_MODE = True, False

if not (SITE / PAGE).is_file():
    pytest.skip("the page is not built: run make book", allow_module_level=True)


@pytest.fixture(scope="module")
def glued():
    """Return the numbers that the stored notebook glued."""
    numbers = {}
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        for output in cell.get("outputs", []):
            name = output.get("metadata", {}).get("scrapbook", {}).get("name", "")
            value = output.get("data", {}).get("application/papermill.record/text/plain", "True")
            if name and value not in ("True", "False"):
                numbers[name.removeprefix("application/papermill.record/")] = float(value)
    return numbers


def solve(page, separation, weight=0.5, family="full-rank", direction="reverse"):
    settings = {
        "separation": separation,
        "weight": weight,
        "family": family,
        "direction": direction,
    }
    return page.evaluate("settings => window.mixbookModeSeeking.solve(settings)", settings)


def shape(found):
    """Return the number of optima and whether the best one covers both modes."""
    return len(found["optima"]), found["optima"][0]["covers"]


@pytest.mark.parametrize(
    ("name", "family", "weight", "below", "above"),
    [
        ("full_rank_appears", "full-rank", 0.5, (1, COVERING), (3, COVERING)),
        ("full_rank_switch", "full-rank", 0.5, (3, COVERING), (3, ONE_MODE)),
        ("mean_field_threshold", "mean-field", 0.5, (1, COVERING), (2, COVERING)),
        ("heavy_appears", "full-rank", 0.7, (1, COVERING), (2, COVERING)),
        ("unequal_switch", "full-rank", 0.7, (2, COVERING), (2, ONE_MODE)),
        ("covering_ends", "full-rank", 0.7, (2, ONE_MODE), (1, ONE_MODE)),
        ("light_appears", "full-rank", 0.7, (1, ONE_MODE), (2, ONE_MODE)),
        ("light_mean_field", "mean-field", 0.7, (1, ONE_MODE), (2, ONE_MODE)),
    ],
)
def test_thresholds_are_those_of_the_notebook(
    explorable, glued, name, family, weight, below, above
):
    threshold = glued[name]
    assert shape(solve(explorable, threshold - 0.005, weight, family)) == below
    assert shape(solve(explorable, threshold + 0.005, weight, family)) == above


def log_density(u, d, weight):
    return np.logaddexp(
        np.log(weight) + stats.norm.logpdf(u, d), np.log(1 - weight) + stats.norm.logpdf(u, -d)
    )


def reverse_kl(mean, sd, d, weight, k):
    """KL(q || p) by adaptive quadrature along the line; across it both are normal."""
    q = stats.norm(mean, sd)
    along = integrate.quad(
        lambda u: q.pdf(u) * (q.logpdf(u) - log_density(u, d, weight)),
        mean - 9 * sd,
        mean + 9 * sd,
        limit=300,
    )[0]
    across = (k - 1) * (0.5 * (sd**2 - 1) - np.log(sd))
    return along + across


@pytest.mark.parametrize("family", ["full-rank", "mean-field"])
@pytest.mark.parametrize(
    ("separation", "weight"), [(0.8, 0.5), (1.9, 0.6), (2.5, 0.5), (3.2, 0.55), (2.25, 0.7)]
)
def test_every_optimum_is_one_by_quadrature_and_scipy(explorable, separation, weight, family):
    k = 2 if family == "mean-field" else 1
    found = solve(explorable, separation, weight, family)["optima"]
    for fit in found:
        expected = reverse_kl(fit["mean"], fit["sd"], separation, weight, k)
        assert fit["kl"] == pytest.approx(expected, abs=1e-6)
        polished = optimize.minimize(
            lambda x: reverse_kl(x[0], x[1], separation, weight, k),
            [fit["mean"] + 0.01, fit["sd"] + 0.01],
            method="Nelder-Mead",
            options={"xatol": 1e-5, "fatol": 1e-10},
        )
        np.testing.assert_allclose(polished.x, [fit["mean"], fit["sd"]], atol=2e-3)
        share = stats.norm.cdf(-abs(fit["mean"]) / fit["sd"])
        assert fit["smallerShare"] == pytest.approx(share, abs=1e-9)


@pytest.mark.parametrize(("family", "k"), [("full-rank", 1), ("mean-field", 2)])
def test_forward_optimum_equals_quadrature(explorable, family, k):
    d, weight = 2.2, 0.7
    (fit,) = solve(explorable, d, weight, family, "forward")["optima"]

    def moment(function):
        return integrate.quad(
            lambda u: np.exp(log_density(u, d, weight)) * function(u), -12, 12, points=[-d, d]
        )[0]

    mean = moment(lambda u: u)
    variance = moment(lambda u: (u - mean) ** 2)
    # in the original coordinates a variance is the average of those along and across the line
    sd = np.sqrt((variance + k - 1) / k)
    assert (fit["mean"], fit["sd"]) == pytest.approx((mean, sd), abs=1e-6)
    along = moment(lambda u: log_density(u, d, weight) - stats.norm.logpdf(u, mean, sd))
    across = (k - 1) * (np.log(sd) + 0.5 / sd**2 - 0.5)
    assert fit["kl"] == pytest.approx(along + across, abs=1e-6)


def test_keys_move_the_controls_and_the_words_follow(untouched):
    words = untouched.locator("#seeking-words")
    assert words.get_attribute("aria-live") == "polite"
    assert "One optimum: q covers both modes" in words.inner_text()
    untouched.get_by_label("mean-field").focus()
    untouched.keyboard.press("ArrowRight")
    assert untouched.get_by_label("full-rank").is_checked()
    slider = untouched.get_by_role("slider", name="Separation")
    slider.focus()
    before = float(slider.input_value())
    untouched.keyboard.press("ArrowRight")
    assert float(slider.input_value()) == pytest.approx(before + 0.01)
    assert (
        untouched.locator('output[for="seeking-separation"]').inner_text() == f"{before + 0.01:.2f}"
    )
    untouched.keyboard.press("End")
    assert "The covering fit is a worse local optimum" in words.inner_text()
    untouched.get_by_label("Weight of the first mode").focus()
    untouched.keyboard.press("End")
    assert "sits on the heavier mode" in words.inner_text()
    untouched.get_by_label("forward").check()
    assert "One optimum, always" in words.inner_text()


def test_the_drawing_shows_every_optimum(explorable):
    explorable.get_by_label("full-rank").check()
    explorable.get_by_role("slider", name="Separation").fill("3")
    panel = explorable.locator("#explorable-mode-seeking")
    assert panel.locator("polygon.seeking-best").count() == 4  # two modes, at one and two sds
    assert panel.locator("polygon.seeking-worse").count() == 2
    assert panel.locator("path.seeking-target").count() == 3
    assert "NaN" not in panel.inner_html()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_a_phone_in_both_themes(explorable, theme):
    explorable.set_viewport_size({"width": 390, "height": 844})
    explorable.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
    panel = explorable.locator("#explorable-mode-seeking")
    assert panel.evaluate("element => element.scrollWidth <= element.clientWidth")
    ink = panel.locator("svg text").first.evaluate("element => getComputedStyle(element).fill")
    brightness = sum(int(part) for part in ink.strip("rgba()").split(",")[:3]) / 3
    assert (brightness > 128) == (theme == "dark")


def test_the_script_leaves_other_pages_alone(browser, site_url):
    with opened(browser, f"{site_url}/index.html") as page:
        assert page.locator("#seeking-words").count() == 0
