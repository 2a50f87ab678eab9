"""The helpers of the chapters that judge others fail on what they exist to catch."""

import ast
from types import SimpleNamespace

import numpy as np
import pytest

from mixbook.mutants import code_cells

pytestmark = pytest.mark.slow


def names_of(statement: ast.stmt) -> set[str]:
    """Return the names that a statement at the top of a cell defines."""
    if isinstance(statement, ast.FunctionDef):
        return {statement.name}
    if isinstance(statement, ast.Assign):
        return {target.id for target in statement.targets if isinstance(target, ast.Name)}
    return set()


def of_chapter(chapter: str, *names: str) -> SimpleNamespace:
    """Return the functions and values of these names, by the imports and statements of a chapter.

    Raises
    ------
    AssertionError
        If the chapter defines a name no longer.
    """
    space: dict = {}
    found = set()
    for cell in code_cells(chapter):
        for statement in ast.parse(cell.source).body:
            defined = names_of(statement) & set(names)
            if defined or isinstance(statement, ast.Import | ast.ImportFrom):
                exec(compile(ast.Module([statement], []), chapter, "exec"), space)
                found |= defined
    assert found == set(names)
    return SimpleNamespace(space=space, **{name: space[name] for name in names})


@pytest.fixture(scope="module")
def density():
    """Return the five tests of chapter 2, with the values that they judge by."""
    tests = ("one_value_per_row", "total_area", "worst_difference", "worst_gradient_error", "refit")
    data = ("truth", "generator", "first", "simulated", "some", "bounds", "reference")
    return of_chapter(
        "02_log_density",
        *("PLAIN", "normal_log_density", "compile_density", "mixture_of", "five_tests"),
        *tests,
        *data,
    )


ROWS, AREA, SCIPY = "one value for each row", "area 1", "agrees with SciPy to 1e-10"
GRADIENT, REFIT = "gradient", "refit finds the truth"


def no_fault(correct):
    return correct


def rows_that_lean_on_each_other(correct):
    return lambda mu, sigma, value: correct(mu, sigma, value) + 1e-6 * (value - value.mean())


def area_of_one_and_a_hundred_thousandth(correct):
    return lambda mu, sigma, value: correct(mu, sigma, value) + 1e-5


def mean_moved_by_a_millionth(correct):
    return lambda mu, sigma, value: correct(mu + 1e-6, sigma, value)


def gradient_that_is_short_of_a_thousandth(correct):
    from pytensor.gradient import disconnected_grad

    def log_density(mu, sigma, value):
        return correct(mu, 0.999 * sigma + 0.001 * disconnected_grad(sigma), value)

    return log_density


def right_at_the_truth_alone(correct):
    import pytensor.tensor as pt

    return lambda mu, sigma, value: correct(mu, sigma, value) + 0.5 * pt.log(sigma / 0.1)


@pytest.mark.parametrize(
    ("fault", "caught_by"),
    [
        (no_fault, set()),
        (rows_that_lean_on_each_other, {ROWS, SCIPY}),
        (area_of_one_and_a_hundred_thousandth, {AREA, SCIPY}),
        (mean_moved_by_a_millionth, {SCIPY}),
        (gradient_that_is_short_of_a_thousandth, {GRADIENT}),
        (right_at_the_truth_alone, {REFIT}),
    ],
)
def test_each_of_the_five_tests_of_a_density_catches_its_fault(density, fault, caught_by):
    """Each fault is small, and but for SciPy's reference one test alone sees it."""
    verdicts = density.five_tests(fault(density.normal_log_density))
    assert set(verdicts) == {ROWS, AREA, SCIPY, GRADIENT, REFIT}
    assert {test for test, passed in verdicts.items() if not passed} == caught_by


def judge_of_fits(log_density):
    """Return the functions by which chapter 6 judges a fit, for a posterior of this log density."""
    chapter = of_chapter("06_variational", "DIAGONAL", "FAMILIES", "cholesky", "efficiency")
    chapter.space["log_density"] = lambda theta: (log_density(theta), None)
    return chapter


def standard_normal(theta, centre=0.0):
    return -((theta - centre) ** 2).sum(axis=1) / 2


@pytest.fixture(scope="module")
def stopping():
    return judge_of_fits(standard_normal)


def fit(family="mean-field", mean=0.0, sd=1.0):
    """Return a fit of four independent parameters of the same sd, the first off by `mean`."""
    before_softplus = np.log(np.expm1(sd))
    if family == "mean-field":
        factor = np.full(4, before_softplus)
    else:
        factor = np.where(np.equal(*np.tril_indices(4)), before_softplus, 0.0)
    return np.concatenate([[mean, 0, 0, 0], factor])


@pytest.mark.parametrize("family", ["mean-field", "full-rank"])
@pytest.mark.parametrize(
    ("mean", "sd", "expected"),
    [
        (0.0, 1.0, 1.0),
        (0.5, 1.0, np.exp(-(0.5**2))),  # the integral of p² / q for two normals, inverted
        (1.0, 1.0, np.exp(-1)),
        (0.0, 1.1, (1.1 / np.sqrt(2 - 1 / 1.1**2)) ** -4),
        (0.0, 2.0, (2 / np.sqrt(2 - 1 / 2**2)) ** -4),
        (0.0, 0.9, (0.9 / np.sqrt(2 - 1 / 0.9**2)) ** -4),
    ],
)
def test_the_efficiency_is_that_of_the_closed_form(stopping, family, mean, sd, expected):
    generator = np.random.default_rng(1)
    (found,) = stopping.efficiency(fit(family, mean, sd)[None], family, generator, draws=400_000)
    assert found == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("mean", "sd", "accepted"),
    [
        (0.0, 1.0, 40),
        (0.3, 1.1, 40),
        (1.5, 1.0, 0),  # one parameter off by one and a half sds
        (0.0, 2.0, 0),  # twice as wide
        (0.0, 0.5, 0),  # half as wide: draws of q seldom see how much it leaves out
        (0.0, 0.1, 0),
    ],
)
def test_the_rule_of_one_half_refuses_fits_that_have_not_arrived(stopping, mean, sd, accepted):
    """With 500 draws, as in the chapter."""
    fits = np.tile(fit(mean=mean, sd=sd), (40, 1))
    found = stopping.efficiency(fits, "mean-field", np.random.default_rng(2))
    assert (found > 0.5).sum() == accepted


def test_the_rule_is_blind_to_another_mode_as_the_chapter_says():
    def two_modes(theta):
        return np.logaddexp(standard_normal(theta), standard_normal(theta, 20.0))

    (found,) = judge_of_fits(two_modes).efficiency(
        fit()[None], "mean-field", np.random.default_rng(3)
    )
    assert found == pytest.approx(1)
