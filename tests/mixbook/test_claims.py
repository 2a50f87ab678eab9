import math
from types import SimpleNamespace

import numpy as np
import pytest

from mixbook import claims
from mixbook.claims import ClaimError, claim


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    """Collect what claims show and glue, and forget the names used by other tests."""
    collected = {"shown": [], "glued": {}}
    monkeypatch.setattr(claims, "_names", set())
    monkeypatch.setattr(
        claims, "display", lambda *o, **k: collected["shown"].append((o[0], k["metadata"]))
    )
    monkeypatch.setattr(
        claims, "glue", lambda name, value, display: collected["glued"].update({name: value})
    )
    return collected


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (0.5, {"between": (0, 2)}),
        (0, {"between": (0, 2)}),
        (2, {"between": (0, 2)}),
        (np.float64(3.5), {"at_least": 3}),
        (np.array(3.5), {"at_most": 3.5}),
        (True, {}),
        (np.True_, {}),
    ],
)
def test_a_true_claim_is_shown_and_glued(shown, value, limits):
    claim("it holds", value, name="it", **limits)
    verdict, metadata = shown["shown"][0]
    assert repr(verdict).startswith("✓ it holds: measured ")
    assert "accepted" in verdict._repr_html_()
    assert metadata[claims.METADATA_KEY]["name"] == "it"
    glued = shown["glued"]["it"]
    assert type(glued) in (bool, float)
    assert glued == value


@pytest.mark.parametrize(
    ("value", "limits"),
    [
        (2.0001, {"between": (0, 2)}),
        (-0.0001, {"between": (0, 2)}),
        (math.nan, {"between": (0, 2)}),
        (math.inf, {"at_least": 0}),
        (-math.inf, {"at_most": 0}),
        (math.nan, {"at_least": 0}),
        (None, {"at_most": 1}),
        (2.9, {"at_least": 3}),
        (3.1, {"at_most": 3}),
        ("three", {"at_most": 3}),
        (np.array([1.0, 1.0]), {"at_most": 3}),
        (False, {}),
        (np.False_, {}),
    ],
)
def test_a_false_claim_raises_and_glues_nothing(shown, value, limits):
    with pytest.raises(ClaimError, match="it holds"):
        claim("it holds", value, name="it", **limits)
    assert shown == {"shown": [], "glued": {}}


@pytest.mark.parametrize(
    ("value", "limits", "message"),
    [
        (1.0, {}, "give one of"),
        (1.0, {"at_least": 0, "at_most": 2}, "give one of"),
        (1.0, {"between": (2, 0)}, "holds no number"),
        (1.0, {"between": (math.nan, 2)}, "holds no number"),
        (True, {"at_least": 1}, "takes no range"),
    ],
)
def test_a_range_without_sense_is_refused(value, limits, message):
    with pytest.raises(ValueError, match=message):
        claim("it holds", value, name="it", **limits)


def test_a_name_belongs_to_one_claim():
    claim("it holds", 1, at_least=0, name="it")
    claim("it holds", 2, at_least=0, name="it")  # the same cell run again
    with pytest.raises(ValueError, match="taken"):
        claim("something else", 1, at_least=0, name="it")


def test_text_of_numbers():
    assert claims._text(0.14286) == "0.1429"
    assert claims._text(10_000) == "10,000"
    assert claims._text(1e-10) == "1e-10"
    assert claims._text(2.0) == "2"


@pytest.mark.parametrize("one", [1.0, np.float64(1), np.array(1.0)])
def test_exactly_one_is_suspicious_between_two_limits(one):
    with pytest.raises(ClaimError, match="divided by itself"):
        claim("their ratio is 1", one, name="ratio", between=(0.9, 1.1))
    claim("the ratio is 1", one, name="exact", between=(1, 1))
    claim("the ratio is 1 to six digits", one, name="close", between=(1 - 1e-6, 1 + 1e-6))
    claim("the ratio is 1 but for noise", one + 1e-12, name="noise", between=(0.9, 1.1))
    claim("all of them", one, name="share", at_least=0.9)
    claim("one", 1, name="count", between=(0, 2))
    claim("not above", one, name="above", between=(1, 2))


@pytest.mark.parametrize("zero", [0.0, np.float64(0), np.array(0.0), -0.0])
def test_exactly_zero_is_suspicious_but_for_counts(zero):
    for limits in ({"at_most": 1e-9}, {"between": (-1, 1)}, {"at_least": 0}):
        with pytest.raises(ClaimError, match="compared with itself"):
            claim("they agree", zero, name="they", **limits)
        claim("they agree, as they may", zero, name="may", may_be_zero=True, **limits)
    claim("there is none", zero, name="none", between=(0, 0))
    claim("few", 0, name="few", at_most=3)
    claim("few of NumPy's", np.int64(0), name="numpy", at_most=3)


def test_an_upper_limit_alone_takes_no_negative_number():
    with pytest.raises(ClaimError, match="Take the absolute value"):
        claim("they differ little", -3.0, name="little", at_most=0.1)
    claim("they differ little", -0.05, name="little", between=(-0.1, 0.1))


def test_two_claims_of_a_cell_do_not_read_one_number(monkeypatch):
    after = {}
    shell = SimpleNamespace(events=SimpleNamespace(register=after.__setitem__))
    monkeypatch.setattr(claims, "get_ipython", lambda: shell)
    monkeypatch.setattr(claims, "_measured", {})
    third = 1 / 3
    claim("the first", third, name="first", at_least=0)
    claim("the first", third, name="first", at_least=0)  # the same cell again
    with pytest.raises(ClaimError, match="say same_as='first'"):
        claim("the second", third, name="second", at_least=0)
    claim("the second, as it must", third, name="must", at_least=0, same_as="first")
    claim("or as it may", third, name="may", at_least=0, same_as=("zeroth", "first"))
    with pytest.raises(ClaimError, match="say same_as='first'"):
        claim("the third", third, name="third", at_least=0, same_as=("zeroth", "second"))
    for name, number in (("a", 0.25), ("b", 1e-12), ("c", 7.0), ("d", True)):
        limits = {} if number is True else {"at_least": 0}
        claim(f"shares, errors and counts may agree: {name}", number, name=name, **limits)
        claim(f"shares, errors and counts may agree: {name}2", number, name=name + "2", **limits)
    after["post_run_cell"](None)
    claim("in another cell", third, name="another", at_least=0)
