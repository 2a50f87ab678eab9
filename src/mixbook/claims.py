"""Claims: sentences of the book that fail when they stop being true."""

import ast
import html
import json
import math
from collections.abc import Container, Iterable
from pathlib import Path

import numpy as np
from IPython import get_ipython
from IPython.display import display
from myst_nb import glue

METADATA_KEY = "mixbook_claim"
LOOSE = 0.01  # a wider range around 1 is for no ratio of exact results
_names: set[str] = set()
_measured: dict[float, str] = {}  # the claim that measured a number, in the cell that runs


class ClaimError(AssertionError):
    """A claim of the book does not hold; it has the ``name`` and the ``value`` of the claim."""

    def __init__(self, message: str, name: str, value: object):
        super().__init__(message)
        self.name, self.value = name, value


class _Verdict:
    """One line for the page: the statement, what was measured, what is accepted."""

    def __init__(self, statement: str, measured: str, accepted: str):
        self.statement, self.measured, self.accepted = statement, measured, accepted

    def __repr__(self) -> str:
        return f"✓ {self.statement}: measured {self.measured}, accepted {self.accepted}"

    def _repr_html_(self) -> str:
        return (
            f'<div class="claim"><span class="claim-tick" aria-hidden="true">✓</span> '
            f"{html.escape(self.statement)}. "
            f'<span class="claim-measured">Measured: <b>{self.measured}</b>; '
            f"accepted: {html.escape(self.accepted)}.</span></div>"
        )


def _forget(_: object) -> None:
    """Start anew after a cell: nbval gives all of them one number."""
    _measured.clear()


def _text(number: float) -> str:
    """Four significant digits; more would not hold on another machine."""
    if number == int(number) and abs(number) < 1e6:
        return f"{int(number):,}"
    return f"{number:.4g}"


def claim(
    statement: str,
    value: float | bool,
    *,
    name: str,
    between: tuple[float, float] | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    may_be_zero: bool = False,
    same_as: str | tuple[str, ...] = (),
) -> None:
    """Check a statement, show it in one line, and glue its value for the prose.

    Parameters
    ----------
    statement
        What is claimed, as a sentence without its full stop.
    value
        What was measured: a number, or True or False where the statement has no number.
    name
        The name under which the value is glued; unique within the chapter.
    between
        The closed range (low, high) that is accepted.
    at_least, at_most
        One-sided ranges. A number needs exactly one of the three; a truth value needs none. An
        upper limit alone judges a size: a negative number, as where an absolute value was lost, is
        refused.
    may_be_zero
        Whether exactly 0 is an honest value in a range that holds other numbers, too. It is what a
        comparison of a number with itself gives, and is refused otherwise; and so is a ratio of
        exactly 1 between two limits that are no closer than 0.01. Counts are exempt.
    same_as
        The name of a claim in the same cell that honestly measures the same number, or the names of
        several that may. Otherwise two that agree in all digits are refused: one row was read for
        both. Numbers of up to five decimals, such as counts and shares, are exempt, and rounding
        errors, below 1e-9.

    Raises
    ------
    ClaimError
        If the value is out of range, false, missing (None) or not a finite number; exactly 0 or 1,
        or negative, or the same as another, where that is suspicious.
    ValueError
        If the range itself makes no sense: none or more than one given, reversed, or NaN; or if
        `name` was used before in this kernel for another statement.

    Examples
    --------
    >>> claim("two and two make four", 2 + 2, between=(4, 4), name="four")
    ✓ two and two make four: measured 4, accepted exactly 4
    """
    given = [limit for limit in (between, at_least, at_most) if limit is not None]
    is_truth = isinstance(value, bool | np.bool_)
    if is_truth:
        if given:
            raise ValueError(f"claim {name!r}: a truth value takes no range.")
        low, high, accepted = 1.0, 1.0, "true"
    else:
        if len(given) != 1:
            raise ValueError(f"claim {name!r}: give one of between, at_least, at_most.")
        low, high = between or (
            -math.inf if at_least is None else at_least,
            math.inf if at_most is None else at_most,
        )
        if not low <= high:
            raise ValueError(f"claim {name!r}: the range {low} to {high} holds no number.")
        if low == high:
            accepted = f"exactly {_text(low)}"
        elif between is not None:
            accepted = f"{_text(low)} to {_text(high)}"
        elif at_least is not None:
            accepted = f"at least {_text(low)}"
        else:
            accepted = f"at most {_text(high)}"
    if (name, statement) not in _names and any(name == used for used, _ in _names):
        raise ValueError(f"claim {name!r}: the name is taken by another claim; choose a new one.")
    try:
        number = math.nan if value is None else float(value)
    except (TypeError, ValueError) as error:
        raise ClaimError(f"{statement}: {value!r} is not one number.", name, value) from error
    if not math.isfinite(number):
        text = f"{statement}: the measured value is {value!r}, not a finite number."
        raise ClaimError(text, name, number)
    if not low <= number <= high:
        text = f"{statement}: measured {number:.6g}, accepted {accepted}."
        raise ClaimError(text, name, number)
    is_count = is_truth or isinstance(value, int | np.integer)
    if number == 0 and low < high and not is_count and not may_be_zero:
        raise ClaimError(
            f"{statement}: measured exactly 0, as when a number is compared with itself. If it "
            "is honest, say may_be_zero=True, and let a second claim show that the check can fail.",
            name,
            number,
        )
    if number == 1 and between is not None and low < 1 < high > low + LOOSE and not is_count:
        raise ClaimError(
            f"{statement}: measured exactly 1, as when a number is divided by itself. If it is "
            "honest, give the exact range, or measure a difference or a count.",
            name,
            number,
        )
    if at_most is not None and number < 0:
        raise ClaimError(
            f"{statement}: measured {number:.6g}, and an upper limit alone judges a size. Take the "
            "absolute value, or give a range with between.",
            name,
            number,
        )
    shell = get_ipython()
    if shell is not None and abs(number) > 1e-9 and abs(number - round(number, 5)) > 1e-12:
        shell.events.register("post_run_cell", _forget)  # once, however often
        first = _measured.setdefault(number, name)
        if first not in (name, *((same_as,) if isinstance(same_as, str) else same_as)):
            raise ClaimError(
                f"{statement}: measured {number:.6g}, to the last digit what claim {first!r} of "
                f"this cell measured. If both are right, say same_as={first!r}.",
                name,
                number,
            )

    _names.add((name, statement))
    measured = "true" if is_truth else _text(number)
    record = {"name": name, "statement": statement, "measured": measured, "accepted": accepted}
    record["range"] = [low if low > -math.inf else None, high if high < math.inf else None]
    glue(name, bool(value) if is_truth else float(f"{number:.6g}"), display=False)
    display(_Verdict(statement, measured, accepted), metadata={METADATA_KEY: record})


def stored_claims(path: Path) -> list[dict]:
    """Return the records that `claim` left in the outputs of a stored notebook, in their order.

    Parameters
    ----------
    path : Path
        The notebook.

    Returns
    -------
    list of dict
        For each claim its ``name``, ``statement``, ``measured`` and ``accepted``, as texts, and its
        ``range``, two numbers or None.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [record for cell in cells for record in claims_in(cell.get("outputs", []))]


def claims_in(outputs: Iterable[dict]) -> list[dict]:
    """Return the records that `claim` left in the outputs of a cell."""
    records = [output.get("metadata", {}).get(METADATA_KEY) for output in outputs]
    return [record for record in records if record]


def is_claim(node: ast.AST) -> bool:
    """Tell whether a part of parsed code is a call of `claim`."""
    return isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim"


class _WithoutLimits(ast.NodeTransformer):
    def visit_Call(self, node: ast.Call) -> ast.Call:
        self.generic_visit(node)
        if is_claim(node):
            node.args = node.args[1:]
            node.keywords = [each for each in node.keywords if not _is_limit(each)]
        return node


def _is_limit(keyword: ast.keyword) -> bool:
    names = {node.id for node in ast.walk(keyword.value) if isinstance(node, ast.Name)}
    limits = {"between", "at_least", "at_most", "may_be_zero", "same_as"}
    return keyword.arg in limits and not names


def without_limits(tree: ast.Module) -> ast.Module:
    """Take out of each claim in parsed code its sentence, and the limits written as numbers.

    What a claim measures does not depend on them, so that what was measured outlives their change.
    """
    return _WithoutLimits().visit(tree)


def _name(node: ast.Call) -> str | None:
    """Return the name of a claim in parsed code; None where it is computed."""
    for keyword in node.keywords:
        if keyword.arg == "name" and isinstance(keyword.value, ast.Constant):
            return keyword.value.value
    return None


def names_in(tree: ast.Module) -> set[str | None]:
    """Return the names of the claims in parsed code; None stands for those that are computed."""
    return {_name(node) for node in ast.walk(tree) if is_claim(node)}


class _WithoutClaims(ast.NodeTransformer):
    def __init__(self, kept: Container[str | None]):
        self.kept = kept

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        body = getattr(node, "body", None)
        if isinstance(body, list) and not isinstance(node, ast.Module):
            node.body = body or [ast.Pass()]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_other = is_claim(node.value) and _name(node.value) not in self.kept
        return None if is_other else node


def without_claims(tree: ast.Module, kept: Container[str | None] = ()) -> ast.Module:
    """Take the claims out of parsed code, but for those with the names that are kept.

    What is computed after a claim, or measured by another one, does not depend on it.
    """
    return _WithoutClaims(kept).visit(tree)
