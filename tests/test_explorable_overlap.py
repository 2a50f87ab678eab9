"""The interactive figure of chapter 10, in a browser: its numbers, its words, its keys."""

import numpy as np
import pytest
from conftest import SITE
from scipy import integrate, optimize, stats
from visits import drawn, opened

pytestmark = pytest.mark.slow

PAGE = "chapters/10_overlap.html"

if not (SITE / PAGE).is_file():
    pytest.skip("the page is not built: run make book", allow_module_level=True)


def set_range(page, name, value):
    page.locator(name).evaluate(
        "(input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }", value
    )


def log_posterior(separation, n, first, second):
    """Return the same density by adaptive quadrature, with SciPy's normals."""

    def integrand(y):
        half = separation / 2
        true = 0.5 * stats.norm.pdf(y, half) + 0.5 * stats.norm.pdf(y, -half)
        terms = np.log(0.5) + stats.norm.logpdf(y, [first, second])
        return true * np.logaddexp(*terms)

    expected = integrate.quad(integrand, -14, 14, epsabs=1e-12, limit=200, points=[-2, 0, 2])[0]
    return n * expected + stats.norm.logpdf([first, second], 0, 2).sum()


@pytest.mark.parametrize("separation", [0, 1.5, 4])
@pytest.mark.parametrize("n", [10, 1000])
def test_log_posterior_equals_quadrature(explorable, separation, n):
    points = [(-1.0, 1.0), (0.3, 0.3), (2.5, -0.2), (-3.0, -3.0)]
    shown = [
        explorable.evaluate(
            "args => window.mixbookOverlap.logPosterior(...args)", [separation, n, first, second]
        )
        for first, second in points
    ]
    expected = [log_posterior(separation, n, *point) for point in points]
    # the browser leaves out the constant of the prior
    np.testing.assert_allclose(np.diff(shown), np.diff(expected), rtol=1e-7, atol=1e-6)


@pytest.mark.parametrize(("separation", "n"), [(1.5, 100), (3.0, 1000), (1.0, 10)])
def test_modes_and_pass_equal_quadrature(explorable, separation, n):
    found = explorable.evaluate("args => window.mixbookOverlap.summary(...args)", [separation, n])
    best = optimize.minimize_scalar(
        lambda m: -log_posterior(separation, n, m, -m),
        bounds=(0, 3),
        method="bounded",
        options={"xatol": 1e-8},
    )
    assert found["mode"] == pytest.approx(best.x, abs=1e-4)
    depth = -best.fun - log_posterior(separation, n, 0, 0)
    assert found["pass"] == pytest.approx(depth, rel=1e-5, abs=1e-6)


def test_the_fallback_text_is_true(explorable):
    """It says how deep the pass is with 100 rows at separations 1.0, 1.5 and 2.0."""
    depth = "s => window.mixbookOverlap.summary(s, 100).pass"
    assert [round(explorable.evaluate(depth, s)) for s in (1.0, 1.5, 2.0)] == [1, 6, 16]


def test_expected_switches_equal_an_independent_grid(explorable):
    """Rice's formula, integrated on other nodes: along and across the diagonal."""
    separation, n = 1.5, 100
    shown = explorable.evaluate("args => window.mixbookOverlap.summary(...args)", [separation, n])
    y, y_weights = np.polynomial.hermite_e.hermegauss(60)
    y_weights = y_weights / y_weights.sum() / 2
    nodes = np.concatenate([y + separation / 2, y - separation / 2])
    weights = np.concatenate([y_weights, y_weights])
    along, across = np.meshgrid(np.linspace(-2.5, 2.5, 141), np.linspace(-3, 3, 181))
    first, second = (along + across) / np.sqrt(2), (along - across) / np.sqrt(2)
    height = -(first**2 + second**2) / 8
    for node, weight in zip(nodes, weights, strict=True):
        height += n * weight * np.logaddexp(-((node - first) ** 2) / 2, -((node - second) ** 2) / 2)
    probability = np.exp(height - height.max())
    probability /= probability.sum()
    at_zero = probability[90].sum() / (across[1, 0] - across[0, 0])
    sd = np.sqrt((probability * first**2).sum())
    assert shown["switches"] == pytest.approx(1_000 * at_zero * sd * np.sqrt(2 / np.pi), rel=0.01)


def test_the_mode_parts_where_the_closed_form_says(explorable):
    """One mode while n (separation / 2)^2 is at most 1/2: for 10 rows, up to 0.447."""
    mode = "s => window.mixbookOverlap.summary(s, 10).mode"
    assert explorable.evaluate(mode, 0.44) == 0
    assert explorable.evaluate(mode, 0.46) > 0.01


def test_sliders_work_from_the_keyboard_and_speak(untouched):
    slider = untouched.get_by_label("Separation of the two normals")
    output = untouched.locator('output[for="overlap-separation"]')
    words = untouched.locator("#overlap-words")
    assert words.get_attribute("aria-live") == "polite"
    assert output.inner_text() == "1.5"
    before = words.inner_text()
    top = untouched.locator(".overlap-plot .overlap-band").first.get_attribute("d")
    slider.focus()
    untouched.keyboard.press("ArrowRight")
    assert output.inner_text() == "1.6"
    assert words.inner_text() != before
    assert untouched.locator(".overlap-plot .overlap-band").first.get_attribute("d") != top
    rows = untouched.get_by_label("Number of rows")
    rows.focus()
    untouched.keyboard.press("End")
    assert untouched.locator('output[for="overlap-rows"]').inner_text() == "1,000"
    assert rows.get_attribute("aria-valuetext") == "1,000 rows"


@pytest.mark.parametrize(
    ("separation", "words"),
    [
        ("0", "One mode, on the diagonal"),
        ("0.5", "mixes over both labellings"),
        ("1.4", "neither mixed nor stuck"),
        ("3", "stays in the labelling"),
    ],
)
def test_words_name_the_regime(explorable, separation, words):
    set_range(explorable, "#overlap-separation", separation)
    assert words in explorable.locator("#overlap-words").inner_text()


def test_modes_are_marked_where_they_are(explorable):
    set_range(explorable, "#overlap-separation", "4")
    marks = explorable.locator(".overlap-plot .overlap-mode")
    centres = [
        (float(marks.nth(k).get_attribute("cx")), float(marks.nth(k).get_attribute("cy")))
        for k in range(2)
    ]
    # means of about (2, -2) and (-2, 2) on an axis of 300 px from -3 to 3
    np.testing.assert_allclose(sorted(centres), [(95, 60), (295, 260)], atol=3)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_and_takes_the_colours_of_the_theme(explorable, theme, width):
    box, contrast = drawn(explorable, "#explorable-overlap", ".overlap-frame", theme, width)
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    scale = explorable.locator(".overlap-plot").bounding_box()["width"] / 360
    assert 14 * scale >= 11  # the smallest text of the figure, in px
    assert contrast > 120


def test_other_pages_are_left_alone(browser, site_url):
    with opened(browser, f"{site_url}/index.html") as page:
        assert page.locator(".overlap-plot").count() == 0
