import hashlib
import re

import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from mixbook import data, load_forum, load_table, seed, simulate_forum

FILE = ROOT / "data" / "forum.csv"


def test_simulation_follows_the_thread():
    x, y, labels = simulate_forum(100_000, 1)
    assert x.shape == y.shape == labels.shape == (100_000,)
    assert stats.kstest(x, stats.uniform(-1, 2).cdf).pvalue > 1e-4
    assert stats.binomtest(int(labels.sum()), 100_000, 0.5).pvalue > 1e-4
    residual = y - np.where(labels == 0, 3, -1) * x
    assert stats.kstest(residual, stats.norm(0, 0.1).cdf).pvalue > 1e-4
    assert abs(stats.pearsonr(x, labels).statistic) < 0.02


def test_simulation_draws_in_the_order_of_the_thread():
    generator = np.random.default_rng(5)
    x = 2 * generator.random(7) - 1
    swapped = generator.random(7) < 0.5
    y = 3 * x
    y[swapped] = -x[swapped]
    y = y + 0.1 * generator.standard_normal(7)
    drawn = simulate_forum(7, 5)
    np.testing.assert_array_equal(drawn.x, x)
    np.testing.assert_allclose(drawn.y, y, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(drawn.labels, swapped)


@pytest.mark.parametrize("n", [1, 0, -3, 2.5, "10", True, None])
def test_too_few_rows_are_refused(n):
    with pytest.raises(ValueError, match="n is"):
        simulate_forum(n, 1)


def test_the_file_is_the_beginning_of_the_book_s_draw(monkeypatch):
    monkeypatch.delenv("MIXBOOK_SEED", raising=False)
    drawn = simulate_forum(100_000, seed())
    stored = load_forum()
    assert len(stored.x) == data.FORUM_ROWS
    for name in data.ForumData._fields:
        np.testing.assert_allclose(
            getattr(stored, name), getattr(drawn, name)[: data.FORUM_ROWS], rtol=0, atol=6e-11
        )


def test_the_readme_lists_every_file_with_its_checksum():
    listed = dict(
        re.findall(
            r"`(\S+\.csv)`.*?`([0-9a-f]{64})`",
            (ROOT / "data" / "README.md").read_text(encoding="utf-8"),
            flags=re.S,
        )
    )
    actual = {
        path.name: hashlib.sha256(path.read_bytes().replace(b"\r\n", b"\n")).hexdigest()
        for path in (ROOT / "data").glob("*.csv")
    }
    assert listed == actual
    assert actual["forum.csv"] == data.FORUM_SHA256


def test_line_ends_of_windows_are_accepted(tmp_path):
    path = tmp_path / "forum.csv"
    path.write_bytes(FILE.read_bytes().replace(b"\n", b"\r\n"))
    assert len(load_forum(path).x) == data.FORUM_ROWS


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (r"\A.*\Z", "", "fewer than 2 rows|lacks one of the columns"),
        (r"^x,y,label", "x,z,label", "lacks one of the columns"),
        (r"\n0\.\d+,", "\nnan,", "not finite"),
        (r"\n0\.\d+,", "\ninf,", "not finite"),
        (r"\n0\.\d+,", "\nabc,", "not a number"),
        (r"\n0\.\d+,", "\n0.5,", "differs from the one"),
        (r"(?s)\n.*", "\n0.1,0.2,0\n", "fewer than 2 rows"),
    ],
)
def test_an_altered_file_is_refused(tmp_path, old, new, message):
    path = tmp_path / "forum.csv"
    path.write_text(re.sub(old, new, FILE.read_text(encoding="utf-8"), count=1, flags=re.S))
    with pytest.raises(ValueError, match=rf"forum\.csv.*({message}).*git checkout"):
        load_forum(path)


def test_a_missing_file_is_named_with_its_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"forum\.csv is missing.*git checkout"):
        load_forum(tmp_path / "forum.csv")


@pytest.mark.parametrize(
    ("name", "rows", "column", "total"),
    [  # the sums of the files' columns, by awk
        ("galaxies", 82, "velocity", 1708180),
        ("penguins", 342, "body_mass_g", 1437000),
        ("tone", 150, "tuned", 310.832),
    ],
)
def test_the_real_data_are_whole(name, rows, column, total):
    table = load_table(name)
    assert len(table) == rows
    assert table[column].sum() == pytest.approx(total, abs=1e-6)


def test_an_altered_or_unknown_table_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="galaxies, penguins, tone"):
        load_table("iris")
    monkeypatch.setattr(data, "_DATA", tmp_path)
    with pytest.raises(FileNotFoundError, match="git checkout"):
        load_table("tone")
    (tmp_path / "tone.csv").write_text("stretchratio,tuned\n1,1\n")
    with pytest.raises(ValueError, match="differs from the one"):
        load_table("tone")
