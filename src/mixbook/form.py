"""What the code of a chapter may not say, whatever it computes: ``make check`` refuses it."""

import ast
import copy
import functools
import re
from collections import Counter
from collections.abc import Iterable

from mixbook.claims import is_claim, without_claims

_EXTREMES = {  # the words by which a sentence says that it is about one
    "max": re.compile(r"\b(largest|larger|highest|higher|longest|worst|up to)\b"),
    "min": re.compile(r"\b(smallest|smaller|lowest|lower|shortest|fewest)\b"),
}
_SUPERLATIVE = re.compile(r"\b(largest|highest|longest|worst|smallest|lowest|shortest|fewest)\b")
_LARGEST_SIZE = re.compile(r"\blarge(st|r) (\w+ )?(deviation|difference|distance|error)\b")
_EACH = re.compile(r"\b(all|every|each|both|largest|worst)\b")
_MIDDLES = {"mean", "median", "average"}
_MIDDLE = re.compile(r"\b(mean|median|averaged?)\b")  # not "means", which are parameters
_ORDERED = {"max", "min", "ptp", "sort", "sorted", "quantile"}
_DRAWING = {"sample", "sample_smc", "sample_prior_predictive", "sample_posterior_predictive"}
_DRAWING |= {"draw", "fit", "ADVI", "FullRankADVI", "SVGD"}
_DRAWING |= {"default_rng", "KMeans", "GaussianMixture", "BayesianGaussianMixture"}
_SEEDS = {"random_seed", "random_state", "seed", "means_init"}  # the last is where EM starts
_SIZES = {"abs", "fabs", "absolute", "square", "norm", "ptp", "std"}  # what is never negative


def flaws(sources: list[str]) -> list[str]:
    """Return what is wrong with the code of a chapter, as it is written.

    Parameters
    ----------
    sources : list of str
        The code of the cells of the chapter.

    Returns
    -------
    list of str
        What `careless` says of each cell, and what `unseeded`, `repeated` and `unread` find.
    """
    drawing = [call for source in sources for call in unseeded(source)]
    return [
        *(flaw for source in sources for flaw in careless(source)),
        *(f"a random number without a seed: {call}" for call in drawing),
        *(f"two claims measure the same: {expression}" for expression in repeated(sources)),
        *(f"nobody reads it: {name}" for name in unread(sources)),
    ]


def careless(source: str) -> list[str]:
    """Return what is wrong with the claims in the code of a cell, as it is written.

    An upper limit must judge the largest of several numbers, and a lower limit the smallest;
    between two limits, the sentence must say which of the two it is. The largest of differences
    needs their absolute values. What is measured must not compare a thing with itself, under
    another name neither (nor may other code), and must not be content with one of several numbers,
    conditions or rows. It must not be a constant, and in a loop it must be something that the loop
    changes.

    Parameters
    ----------
    source : str
        The code of a cell.

    Returns
    -------
    list of str
        One sentence for each fault.

    Examples
    --------
    >>> careless("claim('all are small', abs(errors).min(), at_most=0.1, name='errors')")
    ['an upper limit judges a minimum: abs(errors).min()']
    """
    tree = ast.parse(source)
    meanings = _meanings(tree)
    # In a loop, what a function gave; other things may have been changed in place since.
    given = _meanings(tree, ast.walk(tree))
    given = {name: value for name, value in given.items() if isinstance(value, ast.Call)}
    found = [
        f"a thing is compared with itself: {ast.unparse(node)}"
        for node in ast.walk(without_claims(ast.parse(source)))
        if _is_of_itself(node, given)
    ]
    for call in _claims_in(tree):
        limits = {keyword.arg for keyword in call.keywords}
        statement, text = ast.unparse(call.args[0]), ast.unparse(call.args[1])
        outermost = _outermost(call.args[1])
        if "at_most" in limits and outermost == "min":
            found.append(f"an upper limit judges a minimum: {text}")
        if "at_least" in limits and outermost == "max":
            found.append(f"a lower limit judges a maximum: {text}")
        words = _EXTREMES.get(outermost) if "between" in limits else None
        if words and not words.search(statement):
            found.append(f"the sentence does not say that it is a {outermost}: {statement}")
        meant = _meant(call.args[1], meanings)
        calls = {_outermost(node) for node in ast.walk(meant)}
        of_several = _SUPERLATIVE.search(statement) and not _MIDDLE.search(statement)
        if of_several and calls & _MIDDLES and not calls & _ORDERED:
            found.append(f"the sentence names an extreme, not a mean: {statement}")
        elif _EACH.search(statement) and any(map(_is_cancelling, ast.walk(meant))):
            found.append(f"what is meant of each is measured of the mean: {text}")
        maximised = _maximised(call.args[1]) if outermost == "max" else []
        # A limit for a size, or a sentence about one.
        if "at_most" in limits or ("between" in limits and _LARGEST_SIZE.search(statement)):
            maximised = [part for whole in maximised for part in _signed(whole)]
        if any(map(_is_difference, maximised)):
            found.append(f"a largest difference without its absolute value: {text}")
        for node in ast.walk(call.args[1]):
            known = {} if isinstance(node, ast.Call) else meanings
            if _is_repeated(node, known):
                found.append(f"a thing is compared with itself: {ast.unparse(node)}")
            if isinstance(node, ast.Compare) and any(
                isinstance(node.ops[0], above) and _outermost(node.left) == extreme
                for extreme, above in (("max", ast.Gt | ast.GtE), ("min", ast.Lt | ast.LtE))
            ):
                found.append(f"one of several is enough: {ast.unparse(node)}")
            if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
                found.append(f"one of several is enough: {ast.unparse(node)}")
        if outermost == "any" and not _looks_for_words(call.args[1]):
            found.append(f"one of several is enough: {text}")
        if isinstance(call.args[1], ast.Constant):
            found.append(f"nothing is measured: {ast.unparse(call)}")
    for loop in ast.walk(tree):
        if isinstance(loop, ast.For):
            names = [node for node in ast.walk(loop) if isinstance(node, ast.Name)]
            changed = {node.id for node in names if isinstance(node.ctx, ast.Store)}
            for call in _claims_in(loop):
                read = {node.id for node in ast.walk(call.args[1]) if isinstance(node, ast.Name)}
                if not read & changed:
                    text = ast.unparse(call.args[1])
                    found.append(f"a claim in a loop measures always the same: {text}")
    return found


def unseeded(source: str) -> list[str]:
    """Return the calls in the code of a cell that draw random numbers without a seed.

    Another run would show other numbers, within the tolerances or not. Functions of the chapter's
    own are not looked at, nor is what starts where it is told to (``means_init``).

    Parameters
    ----------
    source : str
        The code of a cell.

    Returns
    -------
    list of str
        The calls.

    Examples
    --------
    >>> unseeded("pm.sample(400, chains=1)")
    ['pm.sample(400, chains=1)']
    """
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        module, _, name = ast.unparse(call.func).rpartition(".")
        if (name in ("fit", "draw") and module != "pm") or (name == "sample" and not module):
            continue  # of an estimator, or a function of the chapter
        is_seeded = any(keyword.arg in _SEEDS for keyword in call.keywords)
        is_seeded |= name == "default_rng" and bool(call.args)
        if name in _DRAWING and not is_seeded:
            found.append(ast.unparse(call))
    return found


def repeated(sources: list[str]) -> list[str]:
    """Return what two claims of a chapter measure by the same words.

    Parameters
    ----------
    sources : list of str
        The code of the cells of the chapter.

    Returns
    -------
    list of str
        The expressions.
    """
    counts = Counter(expression for source in sources for expression in _measured_in(source))
    return [expression for expression, count in counts.items() if count > 1]


def unread(sources: list[str]) -> list[str]:
    """Return what the cells of a chapter compute, or let be given, and never read.

    Parameters
    ----------
    sources : list of str
        The code of the cells of the chapter.

    Returns
    -------
    list of str
        The names of variables and functions that no cell reads, of parameters and variables that
        their function does not read, and of what a comprehension counts and does not read. Those
        that take something apart, as in ``figure, axes = plt.subplots()``, are left out, and so are
        those that begin with ``_``, but for a comprehension that goes through anything but a range
        and does not look at its members: it is named ``in`` what it goes through.

    Examples
    --------
    >>> unread(["def fit(rows, seed): return rows.mean()", "low = high = fit(1, 2)", "print(low)"])
    ['high', 'seed']
    """
    trees = [ast.parse(source) for source in sources]
    whole = ast.Module([statement for tree in trees for statement in tree.body], [])
    found = _unread_in(whole)
    for node in ast.walk(whole):
        if isinstance(node, ast.FunctionDef):
            found += _unread_in(node)
        elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
            read = _read_in(node)
            for each in node.generators:
                if isinstance(each.target, ast.Name) and each.target.id not in read:
                    repeats = ast.unparse(each.iter).startswith("range(")
                    found.append(each.target.id if repeats else f"in {ast.unparse(each.iter)}")
    return [name for name in dict.fromkeys(found) if not name.startswith("_")]


def _unread_in(scope: ast.Module | ast.FunctionDef) -> list[str]:
    bound: list[str] = []
    if isinstance(scope, ast.FunctionDef):
        given = [*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs]
        bound += [argument.arg for argument in given if argument.arg not in {"self", "cls"}]
    waiting: list[ast.AST] = list(scope.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.FunctionDef):
            bound.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = getattr(node, "targets", None) or [node.target]
            bound += [target.id for target in targets if isinstance(target, ast.Name)]
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            waiting += ast.iter_child_nodes(node)
    read = _read_in(scope)
    return [name for name in bound if name not in read]


def _read_in(scope: ast.AST) -> set[str]:
    names = [node for node in ast.walk(scope) if isinstance(node, ast.Name)]
    return {node.id for node in names if isinstance(node.ctx, ast.Load)}


@functools.cache
def _measured_in(source: str) -> list[str]:
    return [ast.unparse(call.args[1]) for call in _claims_in(ast.parse(source))]


def _claims_in(tree: ast.AST) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if is_claim(node)]


def _beyond(comparison: ast.cmpop, limit: ast.expr) -> ast.expr:
    """Return what a limit is the extreme of where nothing of it is beyond: ``> x.max()``."""
    never = {"max": ast.Gt, "min": ast.Lt}.get(_outermost(limit))
    if never is None or not isinstance(comparison, never):
        return limit
    if isinstance(limit.func, ast.Attribute) and not limit.args:
        return limit.func.value
    return limit.args[0] if limit.args else limit


def _compared(node: ast.AST) -> list[ast.expr]:
    """Return what an expression compares, or gives to one function; constants aside."""
    if isinstance(node, ast.Call):
        parts = node.args
    elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub | ast.Div):
        parts = [node.left, node.right]
    elif isinstance(node, ast.Compare):
        parts = [node.left, *map(_beyond, node.ops, node.comparators)]
    else:
        parts = []
    return [part for part in parts if not isinstance(part, ast.Constant)]


def _is_repeated(node: ast.AST, meanings: dict[str, ast.expr]) -> bool:
    """Tell whether two of the things that an expression compares are the same."""
    compared = [_text(part, meanings) for part in _compared(node)]
    return len(set(compared)) < len(compared)


def _is_of_itself(node: ast.AST, meanings: dict[str, ast.expr]) -> bool:
    """Tell whether code outside of claims compares a thing with itself, whatever for."""
    names = {"subtract", "divide", "isclose", "allclose", "array_equal"}
    if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] not in names:
        return False
    return _is_repeated(node, meanings)


def _converted(value: ast.expr) -> ast.expr:
    """Return what float(), int() or bool() is given, or else the expression itself."""
    while (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id in {"float", "int", "bool"}
        and value.args
    ):
        value = value.args[0]
    return value


def _outermost(value: ast.expr) -> str:
    """Return the name of the function that gives a value, conversions aside."""
    function = getattr(_converted(value), "func", None)
    return getattr(function, "attr", getattr(function, "id", ""))


def _is_difference(node: ast.AST) -> bool:
    return isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub)


def _signed(node: ast.AST) -> list[ast.AST]:
    """Return the parts of an expression that no absolute value or power encloses."""
    is_power = isinstance(node, ast.BinOp) and isinstance(node.op, ast.Pow)
    if is_power or _outermost(node) in _SIZES:
        return []
    return [node, *(part for child in ast.iter_child_nodes(node) for part in _signed(child))]


def _is_cancelling(node: ast.AST) -> bool:
    """Tell whether an absolute value is taken of a mean, in which deviations have cancelled."""
    if not isinstance(node, ast.Call) or _outermost(node) not in {"abs", "absolute"}:
        return False
    inner = node.args[0] if node.args else getattr(node.func, "value", node)
    if isinstance(inner, ast.BinOp) and isinstance(inner.right, ast.Constant):
        inner = inner.left  # a mean minus its truth, say
        if isinstance(inner, ast.Call) and (inner.args or inner.keywords):
            return False  # a mean over some axes leaves others
    return _outermost(inner) in _MIDDLES


def _meanings(tree: ast.Module, within: Iterable[ast.AST] = ()) -> dict[str, ast.expr]:
    """Return what the names of a cell stand for that are bound once, by themselves.

    Only its own statements bind, unless others are given.
    """
    names = [node for node in ast.walk(tree) if isinstance(node, ast.Name)]
    bound = Counter(name.id for name in names if isinstance(name.ctx, ast.Store))
    bound += Counter(node.arg for node in ast.walk(tree) if isinstance(node, ast.arg))
    pairs: list[tuple[ast.expr, ast.expr]] = []
    for node in within or tree.body:
        if isinstance(node, ast.Assign):
            target, value = node.targets[0], node.value
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs += zip(target.elts, value.elts, strict=False)
            pairs.append((target, value))
    return {
        target.id: value
        for target, value in pairs
        if isinstance(target, ast.Name)
        and bound[target.id] == 1
        and not isinstance(value, ast.List | ast.Dict)  # they grow
    }


def _meant(value: ast.expr, meanings: dict[str, ast.expr]) -> ast.expr:
    """Return an expression with what its names stand for in their place."""
    open_names: list[str] = []

    class Put(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.expr:
            is_read = isinstance(node.ctx, ast.Load) and node.id not in open_names
            if not is_read or node.id not in meanings:
                return node
            open_names.append(node.id)
            meaning = self.visit(copy.deepcopy(meanings[node.id]))
            open_names.pop()
            return meaning

    return Put().visit(copy.deepcopy(value))


class _Renamed(ast.NodeTransformer):
    """Call what the comprehensions of an expression run over by number, whatever its name."""

    def __init__(self) -> None:
        self.count = 0

    def generic_visit(self, node: ast.AST) -> ast.AST:
        names: dict[str, str] = {}
        for part in getattr(node, "generators", ()):
            for target in ast.walk(part.target):
                if isinstance(target, ast.Name) and target.id not in names:
                    names[target.id] = f"_{self.count}"
                    self.count += 1
        for name in ast.walk(node) if names else ():
            if isinstance(name, ast.Name):
                name.id = names.get(name.id, name.id)
        return super().generic_visit(node)


def _text(value: ast.expr, meanings: dict[str, ast.expr]) -> str:
    """Return an expression as text, which tells whether another one is the same."""
    return ast.unparse(_Renamed().visit(_meant(value, meanings)))


def _looks_for_words(value: ast.expr) -> bool:
    """Tell whether a word is looked for in several texts, where one is enough indeed."""
    comparisons = [node for node in ast.walk(value) if isinstance(node, ast.Compare)]
    return any(isinstance(node.ops[0], ast.In) for node in comparisons)


def _maximised(value: ast.expr) -> list[ast.expr]:
    """Return what a maximum is taken of."""
    call = _converted(value)
    parts = [call.func.value] if isinstance(call.func, ast.Attribute) else call.args
    return [part.elt if isinstance(part, ast.GeneratorExp) else part for part in parts]
