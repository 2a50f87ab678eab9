import pytest

from mixbook.form import careless, repeated, unread, unseeded


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
        ("claim('smallest share', np.mean(a), at_least=1, name='m')", "a mean: 'smallest share'"),
        (
            "b, c = abs(a.mean()), a.max()\nclaim('largest', b, at_most=1, name='b')",
            "not a mean: 'largest'",
        ),
        (
            "claim('given the means: largest', abs(a).mean(), between=(0, 1), name='a')",
            "not a mean: 'given the means: largest'",
        ),
        (
            "claim('all four', float(np.abs((a + 1).mean())), at_most=1, name='a')",
            "of the mean: float(np.abs((a + 1).mean()))",
        ),
        (
            "claim('all four', abs(a[0].mean() + 1), at_most=1, name='a')",
            "of the mean: abs(a[0].mean() + 1)",
        ),
        ("claim('largest', (a - b).max(), at_most=1, name='l')", "value: (a - b).max()"),
        (
            "claim('largest', max(a - b for a in c), at_most=1, name='l')",
            "value: max((a - b for a in c))",
        ),
        (
            "claim('largest', ((a - b) / c).max(), at_most=1, name='l')",
            "value: ((a - b) / c).max()",
        ),
        (
            "claim('the largest mean deviation', ((a - b) / c).max(), between=(1e-6, 1), name='l')",
            "value: ((a - b) / c).max()",
        ),
        ("claim('all', max(counts) > 50, name='all')", "is enough: max(counts) > 50"),
        ("claim('all', errors.min() <= 1, name='all')", "is enough: errors.min() <= 1"),
        ("claim('both', a.any() or b.any(), name='b')", "is enough: a.any() or b.any()"),
        ("claim('all', (a < b).any(), name='all')", "is enough: (a < b).any()"),
        ("claim('all', bool(any(a)), name='all')", "is enough: bool(any(a))"),
        ("claim('true', True, name='t')", "is measured: claim('true', True, name='t')"),
        ("claim('same', gap(a['x'], a['x']), at_most=1, name='s')", "gap(a['x'], a['x'])"),
        ("claim('same', abs(a[0] - a[0]), at_most=1, name='s')", "itself: a[0] - a[0]"),
        ("claim('same', a == a, name='s')", "itself: a == a"),
        (
            "claim('none', int((a > a.max()).sum()), between=(0, 0), name='n')",
            "itself: a > a.max()",
        ),
        ("beyond = (a < np.min(a)).sum()", "itself: a < np.min(a)"),
        ("b = a[0]\nclaim('same', b / a[0], at_most=1, name='s')", "itself: b / a[0]"),
        ("b = a\nc = a\nclaim('same', abs(c - b).max(), at_most=1, name='s')", "itself: c - b"),
        ("for row in rows:\n    claim(row, table.a, at_least=1, name=row)", "the same: table.a"),
        ("gaps.append(np.ptp(np.subtract(ours, ours)))", "itself: np.subtract(ours, ours)"),
        ("gap = max(gap, abs(a.b - a.b).max())", "itself: a.b - a.b"),
        (
            "a = [f(x) for x in z]\nb = [f(y) for y in z]\nclaim('a', a - b, at_most=1, name='a')",
            "itself: a - b",
        ),
        ("f = g()\nfor a in b:\n    c = f(a)\n    gaps.append(c - f(a))", "itself: c - f(a)"),
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
        "claim('warned', any('slow' in text for text in caught), name='warned')",
        "claim('none', not (a > b).any(), name='none')",
        "claim('largest', np.abs((a - b) / c).max(), at_most=1, name='largest')",
        "claim('largest', max((a - b) ** 2), at_most=1, name='largest')",
        "b = run(1)\nb = a\nclaim('other', b / a, at_most=1, name='other')",
        "a, b = [], []\na.append(1)\nclaim('other', a != b, name='other')",
        "b = a\nclaim('two', f(b, a), at_most=1, name='two')",
        "a = [f(x) for x in z]\nb = [f(y) for y in y]\nclaim('a', a - b, at_most=1, name='a')",
        "gap = [[f(x, y) for y in u] for x in u] == [[f(y, x) for y in u] for x in u]",
        "for a in b:\n    c = a[0]\n    move(a)\n    steps.append(a[0] - c)",
        "b, c = abs(a.mean()), a.max()\nclaim('largest', c, at_most=1, name='c')",
        "claim('all four', abs(a).mean(), at_most=1, name='mean')",
        "claim('the bias', abs(a.mean()), at_most=1, name='bias')",
        "b = a.mean(0)\nclaim('all', abs(b - 0.5).max(), at_most=1, name='b')",
        "claim('all', max(abs(b - a.mean()) for b in a), at_most=1, name='b')",
        "claim('the mean of the largest', clear.mean(), at_least=1, name='clear')",
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


@pytest.mark.parametrize(
    ("sources", "names"),
    [
        (["a = 1", "print(a)"], ""),
        (["a = 1", "b = a"], "b"),
        (["a = 1\na += 1"], "a"),
        (["a = 1", "def f():\n    return a\nf()"], ""),
        (["def f(x): return 1", "f(2)"], "x"),
        (["def f(x):\n    y = x\n    return x", "f(2)"], "y"),
        (["def f(x):\n    def g(z):\n        return x\n    return g(1)", "f(2)"], "z"),
        (["def f(*, x, y=1): return y", "f(x=2)"], "x"),
        (["y = 1", "def f(x): y = 2; return x", "f(y)"], "y"),
        (["def f(): return 1"], "f"),
        (["figure, axes = plots()", "axes.plot()"], ""),
        (["class A:\n    x = 1\n    def f(self): return 1", "A().f()"], ""),
        (["with model as m:\n    w = prior()", "sample(m)"], "w"),
        (["a = [1 for i in range(2)]", "print(a)"], "i"),
        (["a = {i: j for i in range(2) for j in range(i)}", "print(a)"], ""),
        (["i = 1; print(i)", "print(sum(1 for i in range(2) for _ in range(3)))"], "i"),
        (["fit = 1; fits = [fit]", "print([fit for _ in fits])"], "in fits"),
        (["fits = [1]", "print([one.draws for one in fits for _ in range(2)])"], ""),
        (["_unused = 1", "key = lambda step: 1", "f(key)"], ""),
    ],
)
def test_names_that_nobody_reads(sources, names):
    assert " ".join(unread(sources)) == names


@pytest.mark.parametrize(
    ("source", "is_found"),
    [
        ("pm.sample(400, chains=1)", True),
        ("pm.sample(400, random_seed=seed(1))", False),
        ("pm.sample(**sampling)", True),
        ("nutpie.sample(compiled, draws=400)", True),
        ("nutpie.sample(compiled, seed=one_seed)", False),
        ("sample(model, 3)", False),
        ("advi.sample(500)", True),
        ("pm.fit(100, method='advi')", True),
        ("pm.fit(100, random_seed=seed(1))", False),
        ("GaussianMixture(3).fit(rows)", True),
        ("GaussianMixture(3, random_state=seed(2)).fit(rows)", False),
        ("GaussianMixture(2, means_init=means)", False),
        ("pm.draw(weights, 100)", True),
        ("axes.draw(renderer)", False),
        ("default_rng()", True),
        ("default_rng(seed(4))", False),
        ("rng(4)", False),
        ("pm.FullRankADVI()", True),
        ("with model: sizes = [pm.sample_smc(500, chains=4) for _ in range(2)]", True),
    ],
)
def test_random_numbers_need_a_seed(source, is_found):
    assert bool(unseeded(source)) == is_found
