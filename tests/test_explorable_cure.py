"""The page "Which cure for my mixture?", in a browser, and every code that it can give."""

import contextlib
import functools
import io
import itertools

import arviz as az
import numpy as np
import pymc as pm
import pytest
from conftest import SITE
from scipy import stats
from visits import drawn

pytestmark = pytest.mark.slow

PAGE = "which_cure.html"

if not (SITE / PAGE).is_file():
    pytest.skip("the page is not built: run make book", allow_module_level=True)

KINDS = ("normal", "regression", "poisson", "multivariate")
ANSWERS = {
    "number": ("two", "three", "unknown"),
    "order": ("yes", "no"),
    "purpose": ("density", "groups", "parameters"),
    "rows": (100, 10_000, 100_000, 10_000_000),
    "distance": (1, 2.5, 4),
}
EASY = {"number": "two", "order": "no", "purpose": "parameters", "rows": 1000, "distance": 4}
TAIL = ("print(labelswitch.diagnose", "print(dt.posterior.attrs")


def route(page, **answers):
    return page.evaluate("answers => window.mixbookCure.route(answers)", answers)


def codes(page, kind):
    """Return all codes for a kind of data, each with one list of answers that leads to it."""
    found = {}
    for values in itertools.product(*ANSWERS.values()):
        answers = dict(zip(ANSWERS, values, strict=True))
        code = route(page, kind=kind, draws="none", **answers)["code"]
        found.setdefault(code, answers)
    return found


def data(kind, n):
    """Return two separated groups of a kind."""
    rng = np.random.default_rng(5)
    z = rng.random(n) < 0.4
    x = rng.uniform(-1, 1, n)
    if kind == "normal":
        return {"y": rng.normal(4.0 * z)}
    if kind == "regression":
        return {"x": x, "y": np.where(z, 3 * x, 2 - x) + rng.normal(0, 0.1, n)}
    if kind == "poisson":
        return {"y": rng.poisson(np.where(z, 3, 30))}
    return {"y": rng.normal(size=(n, 2)) + 6.0 * z[:, None]}


@pytest.mark.filterwarnings("ignore")  # the chains are far too short
@pytest.mark.parametrize(
    "kind",
    [
        "regression",
        *(pytest.param(kind, marks=pytest.mark.long) for kind in KINDS if kind != "regression"),
    ],
)
def test_every_code_runs(explorable, kind, monkeypatch):
    """Each model is sampled once, shortly; each way to go on runs once on some model's draws."""
    short = {"draws": 20, "tune": 20, "cores": 1, "chains": 2, "progressbar": False}
    sample = pm.sample
    monkeypatch.setattr(
        pm,
        "sample",
        lambda chains, random_seed: sample(
            **short, random_seed=random_seed, compute_convergence_checks=False
        ),
    )
    predict = functools.partial(pm.sample_posterior_predictive, progressbar=False)
    monkeypatch.setattr(pm, "sample_posterior_predictive", predict)
    sampled, followed = {}, set()
    for code, answers in codes(explorable, kind).items():
        if answers["number"] == "three":
            assert "K = 3\n" in code
            continue  # the same but for the number
        start = min(code.find(text) for text in TAIL if text in code)
        head, tail = code[:start], code[start:]
        if "few = " in head:  # the same but for a part of the rows
            names = data(kind, 6_000)
            lines = head.splitlines(keepends=True)
            exec("import numpy as np\n" + "".join(x for x in lines if "few" in x), names)
            assert len(names["y"]) == 5_000
            head = "".join(x for x in lines if "few" not in x)
        if head not in sampled:
            sampled[head] = data(kind, 20_000 if "mixscale.fit" in head else 60)
            exec(head, sampled[head])
        if tail in followed:
            continue
        followed.add(tail)
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(tail, dict(sampled[head]))
        assert printed.getvalue(), f"{answers} print nothing"
        if "acceptance" in tail:
            assert float(printed.getvalue().split()[0]) > 0.9
    assert len(sampled) >= 2
    assert len(followed) >= 6


def test_the_codes_for_three_are_those_for_two(explorable):
    for kind, order, purpose in itertools.product(KINDS, ("yes", "no"), ANSWERS["purpose"]):
        answers = EASY | {"kind": kind, "order": order, "purpose": purpose, "draws": "none"}
        two, three = (
            route(explorable, **(answers | {"number": number}))["code"]
            for number in ("two", "three")
        )
        assert two.replace("K = 2", "K = 3") == three


@pytest.mark.parametrize("purpose", ANSWERS["purpose"])
def test_the_code_for_draws_of_another_program_runs(explorable, purpose, capsys):
    rng = np.random.default_rng(2)
    means = rng.normal([0.0, 5.0], 0.1, (4, 100, 2))
    means[1] = means[1, :, ::-1]
    z = np.broadcast_to(rng.random(30) < 0.5, (4, 100, 30)).astype(int)
    code = route(explorable, **(EASY | {"kind": "normal", "draws": "other", "purpose": purpose}))
    exec(code["code"], {"draws": {"means": means}, "z": z, "az": az})
    assert "The labels switch between chains" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("answers", "words", "text"),
    [
        ({"order": "yes", "distance": 4}, "An ordered transform", "transform=ordered"),
        ({"order": "yes", "distance": 1}, "without an order", "relabel(dt, model=model)"),
        ({"order": "yes", "kind": "multivariate"}, "without an order", "relabel(dt, model=model)"),
        ({"purpose": "density"}, "None.", "sample_posterior_predictive"),
        ({"purpose": "groups"}, "the partition", "labelswitch.partition"),
        ({"number": "unknown"}, "sparse finite mixture", "np.full(K, 0.01)"),
        ({"rows": 10_000_000}, "mixscale.fit", "mixscale.fit(model"),
        ({"rows": 10_000_000, "distance": 2}, "NUTS, four chains", "mixscale.NormalMixture"),
    ],
)
def test_the_routes_are_those_of_the_chapters(explorable, answers, words, text):
    found = route(explorable, **({"kind": "normal", "draws": "none"} | EASY | answers))
    assert any(words in step["action"] for step in found["steps"])
    assert text in found["code"]
    assert [step["name"] for step in found["steps"]] == ["Model", "Sampler", "Diagnosis", "Labels"]


def test_misplaced_rows_are_the_bayes_error(explorable):
    shown = [explorable.evaluate("d => window.mixbookCure.misplaced(d)", d) for d in (0.5, 1, 3, 6)]
    expected = stats.norm.cdf(-np.array([0.5, 1, 3, 6]) / 2)
    np.testing.assert_allclose(shown, expected, rtol=1e-6)


def test_answers_from_the_keyboard_change_route_and_code(untouched):
    code = untouched.locator(".cure-code code")
    before = code.inner_text()
    assert "pm.NormalMixture" in before
    untouched.get_by_label("What are your data?").focus()
    untouched.keyboard.press("ArrowDown")
    assert "slopes" in code.inner_text()
    slider = untouched.get_by_label("Distance of neighbouring components, in sds")
    slider.focus()
    untouched.keyboard.press("Home")
    words = untouched.locator("#cure-words")
    assert words.get_attribute("aria-live") == "polite"
    assert "one peak" in words.inner_text()
    assert "40 %" in words.inner_text()
    untouched.get_by_role("button", name="Copy the code").click()
    said = untouched.locator(".cure-said")
    said.get_by_text("copy").or_(said.get_by_text("Copied.")).wait_for()


def test_the_links_lead_to_pages(untouched):
    for answers in ({"distance": 1}, {"number": "unknown", "purpose": "groups"}, {"order": "yes"}):
        steps = route(untouched, **({"kind": "normal", "draws": "none"} | EASY | answers))["steps"]
        for target in [
            part.split('"')[0] for step in steps for part in step["why"].split('href="')[1:]
        ]:
            assert (SITE / target).is_file(), target


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_in_both_themes(explorable, theme, width):
    box, contrast = drawn(explorable, "#explorable-cure", ".cure-one", theme, width)
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert contrast > 120
