import math
from types import SimpleNamespace

import numpy as np
import pytest

from mixbook import claims
from mixbook.claims import ClaimError, careless, claim, repeated


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
        (1.0, {"between": (0, 2)}),
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
    for name, number in (("a", 0.25), ("b", 1e-12), ("c", 7.0), ("d", True)):
        limits = {} if number is True else {"at_least": 0}
        claim(f"shares, errors and counts may agree: {name}", number, name=name, **limits)
        claim(f"shares, errors and counts may agree: {name}2", number, name=name + "2", **limits)
    after["post_run_cell"](None)
    claim("in another cell", third, name="another", at_least=0)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("claim('all', errors.min(), at_most=1, name='all')", "a minimum: errors.min()"),
        (
            "claim('all', float(min(errors)), at_most=1, name='all')",
            "a minimum: float(min(errors))",
        ),
        ("claim('all', errors.max(), at_least=1, name='all')", "a maximum: errors.max()"),
        ("claim('errors', errors.max(), between=(0, 1), name='e')", "it is a max: 'errors'"),
        ("claim('the largest', min(a), between=(0, 1), name='m')", "it is a min: 'the largest'"),
        ("claim('largest', (a - b).max(), at_most=1, name='l')", "value: (a - b).max()"),
        (
            "claim('largest', max(a - b for a in c), at_most=1, name='l')",
            "value: max((a - b for a in c))",
        ),
        ("claim('all', max(counts) > 50, name='all')", "is enough: max(counts) > 50"),
        ("claim('all', errors.min() <= 1, name='all')", "is enough: errors.min() <= 1"),
        ("claim('both', a.any() or b.any(), name='b')", "is enough: a.any() or b.any()"),
        ("claim('true', True, name='t')", "is measured: claim('true', True, name='t')"),
        ("claim('same', gap(a['x'], a['x']), at_most=1, name='s')", "gap(a['x'], a['x'])"),
        ("claim('same', abs(a[0] - a[0]), at_most=1, name='s')", "itself: a[0] - a[0]"),
        ("claim('same', a == a, name='s')", "itself: a == a"),
        ("for row in rows:\n    claim(row, table.a, at_least=1, name=row)", "the same: table.a"),
    ],
)
def test_careless_claims_are_found(source, message):
    (found,) = careless(source)
    assert found.endswith(message)


@pytest.mark.parametrize(
    "source",
    [
        "claim('all', errors.max(), at_most=1, name='all')",
        "claim('all', min(errors), at_least=1, name='all')",
        "claim('other', gap(a['x'], a['y']), between=(0, 1), name='other')",
        "claim('all', min(counts) > 50 and max(counts) < 90, name='all')",
        "claim('largest', float(abs(a - b).max()), at_most=1, name='largest')",
        "claim('one', errors.min() / scale, at_most=1, name='one')",
        "claim('the smallest', errors.min(), between=(0.1, 1), name='smallest')",
        "claim(f'up to {n}', max(errors), between=(0.1, 1), name='largest')",
        "for row in rows:\n    claim(row, table[row], at_least=1, name=row)",
        "for row in rows:\n    value = find(row)\n    claim(row, value, at_least=1, name=row)",
        "for row in rows:\n    find(row)\nclaim('after', table.a, at_least=1, name='after')",
    ],
)
def test_careful_claims_are_not(source):
    assert careless(source) == []


def test_what_two_claims_of_a_chapter_measure_is_found():
    first = "claim('the first', error(a), at_most=1, name='first')"
    second = "claim('the second', error(b), at_most=1, name='second')"
    assert repeated([first, second]) == []
    assert repeated([first, "x = 1", second.replace("b", "a")]) == ["error(a)"]
