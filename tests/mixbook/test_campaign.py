"""The judge of the mutants: what it calls killed, and what it lets live."""

import json
import os

import nbformat
import pytest

from mixbook.compare import WITHIN
from mixbook.mutants import score

pytest.importorskip("resource", reason="the campaign forks, which Windows cannot")
from mixbook import campaign
from mixbook.campaign import form, in_fork, judge

CELLS = [
    "from mixbook import claim\nvalue = 2",
    "print('two' * value)",
    "claim('two is two', value, between=(1, 3), name='two')",
]


def run(source: str, cell: int = 0) -> str:
    """Store what the healthy cells show, then run them with one changed, all in a fork."""

    def both() -> str:
        kernel = campaign.Kernel()
        cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
        for stored in cells:
            stored.outputs, error = kernel.run(stored.source)
            assert error is None
        return form(cells, cell, source) or judge(kernel, cells, cell, source)

    return in_fork(both)


@pytest.mark.parametrize(
    ("source", "noticed"),
    [
        (CELLS[0] + "  # nothing", ""),
        ("value = 9", "difference: cell 1"),
        ("value = None", "exception: cell 1: TypeError"),
        ("value =", "exception: cell 0: SyntaxError"),
        ("1 / 0", "exception: cell 0: ZeroDivisionError"),
        ("import os; os._exit(1)", "crash"),
        ("import sys; print(1, file=sys.stderr)", "difference: cell 0"),
        ("1 + 1", "difference: cell 0"),
        (
            "value = 2\nclaim('all', min(2, 3), at_most=9, name='all')",
            "form: cell 0: an upper limit",
        ),
        (
            "from mixbook import claim\nclaim('it', value, at_most=9, name='it')",
            "form: cell 0: two claims measure the same: value",
        ),
    ],
)
def test_the_first_cell_that_notices_is_named(source, noticed):
    answer = run(source)
    assert answer.startswith(noticed)
    assert bool(answer) == bool(noticed)


def test_a_failed_claim_is_told_from_other_exceptions():
    assert run("claim('two is two', value + 7, between=(1, 3), name='two')", cell=2).startswith(
        "claim"
    )


def test_a_cell_that_hangs_is_killed(monkeypatch):
    monkeypatch.setattr(campaign, "CELL_SECONDS", 1)
    assert run("while True: pass").startswith("time")


def test_a_fork_keeps_its_changes_to_itself():
    changed = []
    assert in_fork(lambda: str(changed.append(1) or len(changed))) == "1"
    assert changed == []
    assert in_fork(lambda: os._exit(3)).startswith("crash")


def test_a_long_answer_is_cut():
    assert in_fork(lambda: "x" * 10**6) == "x" * campaign.ANSWER


def test_the_summary_counts_controls_and_survivors_apart(monkeypatch):
    mutants = [
        campaign.Mutant("chapter", 0, source, "check", source, excuse)
        for source, excuse in (
            ("killed", ""),
            ("killed too", "survives: not any more"),
            ("alive", ""),
            ("alive, known", "survives: why"),
            ("control", "equivalent: why"),
        )
    ]
    kept = {(0, mutant.source): "claim: cell 0" * ("killed" in mutant.source) for mutant in mutants}
    monkeypatch.setattr(campaign, "verdicts", lambda chapter: kept)
    result = campaign.summary("chapter", mutants)
    assert result["check"] == {"killed": 2, "tried": 4}
    assert result["noticed"] == {"claim": 2}
    assert [entry["reason"] for entry in result["survivors"]] == ["", "why"]
    assert [entry["noticed"] for entry in result["equivalents"]] == [""]
    assert score(result) == 0.5


def test_a_verdict_stands_while_the_cells_do_that_it_rests_on(monkeypatch, tmp_path):
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS]
    for cell, limit in ((0, 1), (1, 3)):
        cells[cell].source += f'\nclaim("it is small", x, at_most={limit}, name="small")'
    answers = {
        "noticed": "difference: cell 1: stdout, line 1: stored 2, now 1",
        "alive": "",
        "crash": "crash: status 1",
        "claim": "claim: cell 1: 2 for 1",
    }
    lines = [
        {
            "digest": campaign.rests_on(answer, cells),
            "noticed": answer,
            "chapter": "chapter",
            "cell": 0,
            "source": source,
        }
        for source, answer in answers.items()
    ]
    monkeypatch.setattr(campaign, "VERDICTS", tmp_path / "verdicts")
    monkeypatch.setattr(campaign, "code_cells", lambda chapter: cells)
    assert campaign.verdicts("chapter") == {}
    campaign.VERDICTS.write_text("\n".join(map(json.dumps, lines)))

    def stand():
        found = campaign.verdicts("chapter")
        assert all(found[0, name] == answers[name] for _, name in found)
        return {name for _, name in found}

    assert stand() == set(answers)
    assert campaign.verdicts("another") == {}
    cells[0].source = cells[0].source.replace("at_most=1", "at_most=2")
    assert stand() == set(answers)  # a claim of an earlier cell
    cells[0].metadata[WITHIN] = {"stdout, line 1": [1.0]}
    assert stand() == set(answers) - {"alive"}
    cells[1].source = cells[1].source.replace("at_most=3", "at_most=2")
    assert stand() == {"noticed", "crash"}
    cells[1].metadata[WITHIN] = {"stdout, line 2": [1.0]}
    assert stand() == {"noticed", "crash"}
    cells[1].metadata[WITHIN] = {"stdout, line 1": [1.0]}
    assert stand() == {"crash"}
    cells[2].source += "\nprint('changed')"
    assert stand() == set()
