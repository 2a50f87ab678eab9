"""The sweep over seeds: how tolerances follow from spreads, and what the table says of a claim."""

import json
import shutil

import nbformat
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mixbook import sweep
from mixbook.claims import METADATA_KEY
from mixbook.compare import VARIES, Part, agree
from mixbook.sweep import Run, numbers, spread_of_claims, tolerances


def test_what_does_not_differ_is_exact():
    stored = {"table, row 1, column mean": Part("#", [3.0])}
    assert tolerances(stored, [stored, stored]) == {}


def test_an_honest_number_lies_outside_as_seldom_as_said(monkeypatch):
    monkeypatch.setattr(sweep, "FALSE_ALARMS", 0.05)
    draws = np.random.default_rng(0).normal(3, 0.1, (2000, 8))
    outside = 0
    for stored, new, *runs in draws:
        limit = tolerances(
            {"claim a": Part("#", [stored])}, [{"claim a": Part("#", [run])} for run in runs]
        )
        outside += abs(new - stored) > limit["claim a"][0]
    assert 0.02 < outside / len(draws) < 0.05  # the stored number is one of those that tell the sd


def test_a_cell_that_did_not_move_gets_the_least_of_its_column():
    name = "table, row {} ({}), column mean".format
    stored = {name(i, c): Part("#", [1.0]) for i, c in enumerate("abc", 1)}
    moved = zip("abc", [1.0, 1.1, 2.0], strict=True)
    runs = [{name(i, c): Part("#", [value]) for i, (c, value) in enumerate(moved, 1)}]
    found = tolerances(stored, runs)
    assert found[name(1, "a")] == found[name(2, "b")]
    assert found[name(3, "c")][0] > 5 * found[name(2, "b")][0]


def test_a_rounded_number_beside_one_that_moved_has_room_for_its_last_digit():
    names = ["stdout, line 1", "table, row 1, column r-hat", "table, row 2, column r-hat"]
    stored = {names[0]: Part("# chains, r-hat #, ESS #", [4.0, 1.0, 900.0])}
    stored |= {names[1]: Part("#", [1.0]), names[2]: Part("#", [1.0])}
    stored |= {"table, row 1, column mean": Part("#", [2.0])}
    stored |= {"table, row 1, column truth": Part("#", [3.0])}
    stored |= {"table, row 9, column K": Part("published in #", [1997.0])}
    stored |= {"table, row 9, column mean": Part("#", [0.2])}
    run = stored | {names[0]: Part("# chains, r-hat #, ESS #", [4.0, 1.0, 800.0])}
    run |= {"table, row 1, column mean": Part("#", [2.1])}
    found = tolerances(stored, [run])
    assert found[names[0]][:2] == [0.04, 0.01]
    assert found[names[1]] == [0.01]
    assert names[2] not in found  # nothing moves in its row
    assert "table, row 1, column truth" not in found  # no estimate
    assert not any(name.startswith("table, row 9") for name in found)


def test_a_number_among_words_stands_alone():
    name = "table, row {}, column steep".format
    stored = {name(i): Part("component #", [1.0]) for i in (1, 2)}
    runs = [{name(1): Part("component #", [1.0]), name(2): Part("component #", [0.0])}]
    assert list(tolerances(stored, runs)) == [name(2)]


def test_statistics_of_an_artist_get_no_less_than_their_median_but_its_counts_stand_alone():
    name = "figure, axes 1, Line2D 1, y"
    stored = {name: Part("blue", [9.0, 0.0, 1.0, 2.0, 3.0])}
    runs = [{name: Part("blue", [9.0, 0.0, 1.0, 2.5, 3.1])}]
    limits = tolerances(stored, runs)[name]
    assert limits[:2] == [0.0, 0.0]
    assert limits[2] == pytest.approx(limits[4], rel=0.05)
    assert limits[3] == pytest.approx(5 * limits[2], rel=0.05)


def test_text_that_differs_varies():
    stored = {"stdout, line 1": Part("a #", [1.0]), "stdout, line 2": Part("b", [])}
    runs = [{"stdout, line 1": Part("c #", [1.0]), "stdout, line 3": Part("d", [])}]
    assert tolerances(stored, runs) == {
        "stdout, line 1": VARIES,
        "stdout, line 2": VARIES,
        "stdout, line 3": VARIES,
    }


def test_rounding_gets_no_tolerance():
    stored = {"claim a": Part("#", [1e-13])}
    assert tolerances(stored, [{"claim a": Part("#", [3e-14])}]) == {}


def test_a_claim_that_fell_in_every_run_has_no_tolerance():
    assert tolerances({"claim a": Part("#", [0.5])}, [{}, {}]) == {}


def test_a_number_that_would_soon_move_by_more_than_rounding_has_a_tolerance():
    stored = {"claim a": Part("#", [0.99909])}
    runs = [{"claim a": Part("#", [value])} for value in (0.99902, 0.99904, 0.99906, 0.99901)]
    assert all(agree(0.99909, run["claim a"].numbers[0]) for run in runs)
    assert tolerances(stored, runs)["claim a"][0] > 1.5e-4
    assert tolerances(stored, [{"claim a": Part("#", [0.99909 + 1e-9])}] * 4) == {}


def test_a_value_is_exact_where_most_runs_gave_all_of_its_digits():
    def of(*values):
        runs = [{"value of a": Part("shape [2]", [value])} for value in values]
        return tolerances({"value of a": Part("shape [2]", [0.12345])}, runs)

    assert of(0.12345, 0.12345) == of(0.12345, 0.12346) == {}  # as on another processor
    (chance,) = of(0.12346, 0.12347)["value of a"]
    factor = np.sqrt(2) * stats.t.isf(sweep.FALSE_ALARMS / 2, 2)
    assert chance == pytest.approx(2 * factor * 1e-5 + 1e-5, rel=0.02)
    assert of(0.12346, np.nan)["value of a"][0] > 0
    assert of(np.nan, np.nan) == {"value of a": VARIES}  # counted by chance, but for the stored one
    assert of(0.12345, 0.22345)["value of a"][0] > 10
    counted = {"value of a": Part("", [np.nan])}
    assert tolerances(counted, [counted]) == {}
    longer = {"value of a": Part("shape [3]", [0.12345])}
    assert tolerances({"value of a": Part("shape [2]", [0.12345])}, [longer]) == {
        "value of a": VARIES
    }


def test_seeds_are_read_from_ranges():
    assert numbers("1-3,101") == [1, 2, 3, 101]
    assert numbers("3") == [1, 2, 3]
    assert numbers("3-3") == [3]


CHAPTER = """
from mixbook import claim, rng, seed
claim("a number between 0 and 1", rng().random() + 0.0, between=(0, 1), name="inside")
---
claim("under some seeds it is small", rng().random() + 0.0, at_most={limit}, name="small")
---
print(round(rng().random(), 12), seed(1))
"""


@pytest.fixture
def book(tmp_path, monkeypatch):
    """Make a book without chapters, runs or table."""
    monkeypatch.setattr(sweep, "CHAPTERS", tmp_path)
    monkeypatch.setattr(sweep, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(sweep, "TABLE", tmp_path / "sweep.json")
    return tmp_path


@pytest.fixture
def calls(monkeypatch):
    """Return a list of the commands that would have run."""
    commands = []

    def run(command, **options):
        commands.append(command)
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(sweep.subprocess, "run", run)
    return commands


@pytest.fixture
def chapter(book, monkeypatch):
    """Make a chapter of three cells in a book of its own; its second claim fails under a seed."""
    from mixbook import rng

    draws = []
    for seed in (1, 2):
        monkeypatch.setenv("MIXBOOK_SEED", str(seed))
        draws.append(rng().random())
    monkeypatch.setenv("MIXBOOK_SEED", "0")
    limit = (max(draws) + min(draws)) / 2 if rng().random() < max(draws) else 1
    sources = CHAPTER.format(limit=max(limit, rng().random() + 1e-9)).split("---")
    cells = [nbformat.v4.new_code_cell(source.strip()) for source in sources]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), book / "small.ipynb")
    return draws


def in_fork(function):
    campaign = pytest.importorskip("mixbook.campaign", reason="forks, which Windows cannot")
    assert campaign.in_fork(lambda: function() or "done") == "done"


def test_a_run_keeps_what_is_shown_and_goes_on_after_a_failed_claim(chapter, monkeypatch):
    kept = {}
    for seed in (1, 2):
        monkeypatch.setenv("MIXBOOK_SEED", str(seed))
        run = Run("small", seed, 0)
        in_fork(lambda run=run: sweep.record(run))
        kept[seed] = json.loads(run.path.read_text())
        assert list(kept[seed]["claims"]) == ["inside", "small"]
        assert kept[seed]["claims"]["inside"] == pytest.approx(chapter[seed - 1], rel=1e-5)
        assert len(kept[seed]["shown"]) == 3
    failed = [seed for seed in kept if kept[seed]["failed"]]
    assert failed == [1 + int(np.argmax(chapter))]


FIRST = """from mixbook import claim
claim("one", {measured}, between=(0, 1), name="one")
follows = 1"""


def test_a_cell_that_lacks_what_was_to_follow_a_failed_claim_does_not_end_the_run(book):
    last = 'claim("two", 2.0, between=(1, 3), name="two")'
    store(book, [(A, FIRST.format(measured=2.0)), (A, "follows + 1"), (B, last)])
    run = Run("small", 1, 0)
    in_fork(lambda: sweep.record(run))
    kept = json.loads(run.path.read_text())
    assert kept["claims"] == {"one": 2.0, "two": 2.0}
    assert list(kept["failed"]) == ["one"]


@pytest.mark.parametrize(
    ("measured", "wrong", "error"),
    [(0.5, "missing + 1", "NameError"), (2.0, "1 / 0", "ZeroDivisionError")],
)
def test_another_error_ends_the_run(book, measured, wrong, error):
    store(book, [(A, FIRST.format(measured=measured)), (A, wrong)])
    with pytest.raises(AssertionError, match=error):
        in_fork(lambda: sweep.record(Run("small", 1, 0)))


def test_the_samplers_change_and_the_data_do_not(chapter, monkeypatch):
    lines = []
    for sampler in (0, 1, 2):
        monkeypatch.setenv("MIXBOOK_SAMPLER", str(sampler))
        run = Run("small", 0, sampler)
        in_fork(lambda run=run: sweep.record(run))
        shown = json.loads(run.path.read_text())["shown"]
        lines.append(list(shown.values())[2]["stdout, line 1"][1])
    assert len({data for data, _ in lines}) == 1
    assert len({sampler for _, sampler in lines}) == 3


def store(folder, sources):
    """Store a chapter of several cells, with one claim in each, of which the record is given."""
    cells = []
    for claim, source in sources:
        output = nbformat.v4.new_output("display_data", metadata={METADATA_KEY: claim})
        cells.append(nbformat.v4.new_code_cell(source, outputs=[output]))
    nbformat.write(nbformat.v4.new_notebook(cells=cells), folder / "small.ipynb")


def keep(seed, claims, failed=None, sampler=0):
    """Keep a run of the chapter as it is stored."""
    path = Run("small", seed, sampler).path
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"shown": {}, "claims": claims, "failed": failed or {}}))


A, B = ({"name": name, "range": [0.0, 1.0]} for name in "ab")


def test_the_table_names_the_seeds_that_fail_and_the_margin(book):
    store(book, [(A, "x")])
    for seed, value in {1: 0.4, 2: 0.5, 3: 0.6}.items():
        keep(seed, {"a": value})
    assert spread_of_claims("small") == {
        "a": {"runs": 3, "failed": [], "low": 0.4, "high": 0.6, "margin": 5.0}
    }
    keep(4, {"a": 1.2}, {"a": "measured 1.2, accepted 0 to 1"})
    keep(12, {"a": float("nan")}, {"a": "not a finite number"})
    assert spread_of_claims("small")["a"]["failed"] == [4, 12]


def test_the_table_keeps_what_was_measured_where_the_runs_are_gone(book, capsys):
    store(book, [(A, "x"), (B, "y")])
    for seed in (1, 2, 3, 7):
        keep(seed, {"a": seed / 10, "b": True})
    assert sweep.report(["small"]) == 0
    before = sweep.measured("small")
    shutil.rmtree(book / "runs")
    assert sweep.measured("small") == before
    assert before["b"] == {1: True, 2: True, 3: True, 7: True}
    assert json.loads((book / "sweep.json").read_text())["small"]["b"]["values"] == [True]
    keep(4, {"a": 1.5, "b": True}, {"a": "measured 1.5, accepted 0 to 1"})
    assert sweep.report(["small"]) == 1
    assert "a: 5 runs, 0.1 to 1.5" in capsys.readouterr().out
    assert json.loads((book / "sweep.json").read_text())["small"]["a"]["seeds"] == "1-4,7"


def test_what_a_claim_measured_stands_until_the_code_up_to_its_cell_changes(book):
    store(book, [(A, "x"), (B, "y")])
    keep(1, {"a": 0.5, "b": 0.5})
    sweep.write_table(["small"])
    store(book, [(A, "x"), (B, "z")])
    assert sweep.measured("small") == {"a": {1: 0.5}, "b": {}}
    keep(2, {"a": 0.6, "b": 0.6})
    assert sweep.measured("small") == {"a": {1: 0.5, 2: 0.6}, "b": {2: 0.6}}
    store(book, [(A, "w"), (B, "z")])
    assert sweep.measured("small") == {"a": {}, "b": {}}


def test_what_a_claim_measured_outlives_a_change_of_claims_in_earlier_cells(book):
    def after(*sources):
        store(book, [*((A, source) for source in sources[:-1]), (B, sources[-1])])
        return sweep.code_of_claims("small")["b"]

    last = 'claim("two", y, at_most=1, name="b")'
    loop = "for x in y:\n    claim('one', x, at_most=1, name='a')\n"
    first = after(loop, last)
    assert first == after(loop.replace("x,", "x + 1,"), last)
    assert first == after(loop + "claim('new', x, at_most=1, name='c')", last)
    assert first != after(loop.replace("for x in y", "for x in z"), last)
    assert first != after(loop, last.replace("y", "x"))
    assert first != after(loop + "z = claim(1)", last)


def test_what_a_claim_measured_outlives_a_change_of_the_others_in_its_cell(book):
    def code(source, name="b"):
        store(book, [(A | {"name": name}, source)])
        return sweep.code_of_claims("small")[name]

    own = 'claim("two", y, at_most=1, name="b")'
    other = "\nclaim('new', z, at_most=1, name='c')"
    assert code(own) == code(own + other) == code(own.replace(")", ", may_be_zero=True)"))
    assert code(own) != code(own.replace("y", "x") + other)
    computed = "for x in y:\n    claim('one', x, at_most=1, name=f'{x}')\n"
    assert code(computed, "4") == code(computed + other, "4")
    assert code(computed, "4") != code(computed.replace(", x,", ", x + 1,"), "4")


def test_a_run_under_a_seed_ends_with_the_last_claim_that_is_not_known(book):
    first = 'from mixbook import claim\nclaim("one", 0.25, between=(0, 1), name="a")'
    second = 'claim("two", 0.75, between=(0, 1), name="b")'
    C = {"name": "c", "range": [0.0, 1.0]}
    store(book, [(A, first), (B, second), (C, "1 / 0")])
    keep(1, {"c": 0.5})
    run = Run("small", 1, 0)
    assert not run.is_known()
    in_fork(lambda: sweep.record(run))
    assert json.loads(run.path.read_text())["claims"] == {"a": 0.25, "b": 0.75, "c": 0.5}
    assert run.is_known()


def test_a_seed_in_the_table_is_not_run_again_unless_a_claim_was_refused(book, calls):
    store(book, [(A, "x")])
    Run("small", 1, 0).start()
    assert len(calls) == 1
    keep(1, {"a": 0.5})
    keep(2, {"a": 0.0}, {"a": "measured exactly 0, as"})  # until same_as= is given, say
    sweep.write_table(["small"])
    shutil.rmtree(book / "runs")
    Run("small", 1, 0).start()
    assert len(calls) == 1
    Run("small", 2, 0).start()
    assert len(calls) == 2


@given(st.sets(st.integers(1, 200), min_size=1))
def test_seeds_are_written_as_they_are_read(seeds):
    assert numbers(sweep.ranges(sorted(seeds))) == sorted(seeds)


def test_a_new_limit_or_sentence_keeps_the_values_but_new_code_does_not(book):
    def path(source, sampler=0):
        store(book, [(A, source)])
        return Run("small", 1, sampler).path

    first = 'claim("small", x, at_most=1, name="a")'
    assert path(first) == path('claim(f"less than {limit}", x, between=(-1, 2), name="a")')
    assert path(first) != path('claim("small", y, at_most=1, name="a")')
    assert path(first) != path('claim("small", x, at_most=limit, name="a")')
    assert path(first) != path('claim("small", x, at_most=1, name="b")')
    assert path(first, sampler=1) != path('claim("small", x, at_most=2, name="a")', sampler=1)


@pytest.mark.parametrize(
    ("value", "failed", "limits", "fell"),
    [
        (0.5, "", [0.0, 1.0], False),
        (0.5, "", [0.6, 1.0], True),  # narrowed since
        (0.5, "measured 0.5, accepted 0.6 to 1", [0.0, 1.0], False),  # widened since
        (0.5, "", [None, 0.4], True),
        (0.5, "", [None, None], False),
        (float("nan"), "not a finite number", [0.0, 1.0], True),
        (None, "None is not one number", [None, 1.0], True),
        (0.0, "measured exactly 0, as", [0.0, 1.0], True),
        (1.0, "measured exactly 1, as", [0.0, 2.0], True),
        (0.0, "", [0.0, 1.0], False),  # a count
        (0, "", [1.0, 2.0], True),
        (False, "measured 0, accepted true", [1.0, 1.0], True),
        (True, "", [1.0, 1.0], False),
    ],
)
def test_a_run_is_judged_by_the_limits_of_today(book, value, failed, limits, fell):
    store(book, [({"name": "a", "range": limits}, "x")])
    keep(1, {"a": value}, {"a": failed} if failed else {})
    assert spread_of_claims("small")["a"]["failed"] == [1] * fell


def test_a_run_in_which_a_claim_fell_is_made_anew(book, calls):
    store(book, [(A, "x")])
    for failed, count in [({}, 0), ({"small": "why"}, 1)]:
        keep(0, {}, failed, sampler=1)
        Run("small", 0, 1).start()
        assert len(calls) == count
