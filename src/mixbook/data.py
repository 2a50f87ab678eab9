"""The thread's data, simulated as the thread does, and the files that ship with the book."""

import csv
import hashlib
import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

SLOPES = (3.0, -1.0)
NOISE_SD = 0.1
FORUM_ROWS = 1_000
FORUM_SHA256 = "e02e50e0b3dde94ee0ad99b6cffe71e9af574e49d8e1341ec35f18d37bf7d544"
TABLES_SHA256 = {
    "galaxies": "17d7ab1c7a8daf99dc248543aa79d8cbf1a0b8bed3f36d6f3a163d16d1a631e6",
    "penguins": "24000047490eae0055c5b25bd98480ceeacfede8f7c332e7352d1a39b2372900",
    "tone": "11a7345c48ed68164246b47fb13ceb2147caa852357e47b6d622ea263e7e92a2",
}
_DATA = Path(__file__).resolve().parents[2] / "data"


class ForumData(NamedTuple):
    """Rows of the thread's data.

    Attributes
    ----------
    x, y
        Covariate and response, each of shape (n,).
    labels
        The line that each row came from, shape (n,): 0 where the slope is 3, 1 where it is -1.
        The asker did not have it; it serves to judge a fit.
    """

    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray


def simulate_forum(n: int, seed: int | np.random.Generator) -> ForumData:
    """Draw the data of the forum thread, step by step as its code does.

    Parameters
    ----------
    n
        The number of rows, at least 2. The thread has 100,000.
    seed
        An integer or a generator, as for `numpy.random.default_rng`.

    Returns
    -------
    ForumData
        x is uniform on (-1, 1); each row has slope 3 or -1 with probability one half; the noise is
        normal with standard deviation 0.1.

    Raises
    ------
    ValueError
        If `n` is not a whole number of at least 2.

    References
    ----------
    The first post of https://discourse.pymc.io/t/mixture-of-linear-models/1549 (2018).

    Examples
    --------
    >>> x, y, labels = simulate_forum(5, seed=1)
    >>> x.shape, y.shape, sorted(set(labels.tolist()))
    ((5,), (5,), [0, 1])
    """
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 2:
        raise ValueError(f"n is {n!r}; give a whole number of rows of at least 2.")
    generator = np.random.default_rng(seed)
    x = 2 * generator.random(n) - 1
    labels = (generator.random(n) < 0.5).astype(int)
    y = np.where(labels == 0, SLOPES[0] * x, SLOPES[1] * x)
    y = y + NOISE_SD * generator.standard_normal(n)
    return ForumData(x, y, labels)


def _content(path: Path) -> tuple[bytes, str]:
    """Return a file's bytes with LF line ends, and what to do should they be wrong."""
    remedy = f"Restore it with `git checkout -- data/{path.name}`."
    if not path.is_file():
        raise FileNotFoundError(f"The data file {path.name} is missing. {remedy}")
    return path.read_bytes().replace(b"\r\n", b"\n"), remedy


def load_table(name: str) -> pd.DataFrame:
    """Read one of the real data sets, and check it.

    Parameters
    ----------
    name
        "galaxies" (82 velocities in km/s), "penguins" (342 birds with all four measurements) or
        "tone" (150 tuned ratios of one musician). ``data/README.md`` says where they come from.

    Returns
    -------
    DataFrame
        The columns of the file.

    Raises
    ------
    FileNotFoundError
        If the file is missing.
    ValueError
        If there is no such data set, or if the content is not the one that ``data/README.md``
        lists.

    Examples
    --------
    >>> load_table("tone").shape
    (150, 2)
    """
    if name not in TABLES_SHA256:
        raise ValueError(f"name is {name!r}; give one of {', '.join(sorted(TABLES_SHA256))}.")
    path = _DATA / f"{name}.csv"
    content, remedy = _content(path)
    if hashlib.sha256(content).hexdigest() != TABLES_SHA256[name]:
        raise ValueError(
            f"The data file {path.name} differs from the one that data/README.md lists. {remedy}"
        )
    return pd.read_csv(io.BytesIO(content))


def load_forum(path: str | Path = _DATA / "forum.csv") -> ForumData:
    """Read ``data/forum.csv``, the first 1,000 rows of the book's own draw, and check it.

    Parameters
    ----------
    path
        Where the file is; by default where the repository has it.

    Returns
    -------
    ForumData
        1,000 rows, rounded to ten decimals.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If a value is not a finite number, if there are fewer than 2 rows, or if the content is not
        the one that ``data/README.md`` lists.
    """
    path = Path(path)
    content, remedy = _content(path)
    rows = list(csv.DictReader(content.decode("utf-8", errors="replace").splitlines()))
    try:
        columns = [[float(row[name]) for row in rows] for name in ("x", "y", "label")]
        values = np.array(columns)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"The data file {path.name} has a value that is not a number, or lacks one of the "
            f"columns x, y, label. {remedy}"
        ) from error
    if not np.isfinite(values).all():
        raise ValueError(f"The data file {path.name} holds a value that is not finite. {remedy}")
    if values.shape[1] < 2:
        raise ValueError(f"The data file {path.name} has fewer than 2 rows. {remedy}")
    if hashlib.sha256(content).hexdigest() != FORUM_SHA256:
        raise ValueError(
            f"The data file {path.name} differs from the one that data/README.md lists. {remedy}"
        )
    return ForumData(values[0], values[1], values[2].astype(int))


def forum_csv(data: ForumData) -> str:
    """Return `data` as the text of a CSV file with the columns x, y and label."""
    lines = [f"{x:.10f},{y:.10f},{label}" for x, y, label in zip(*data, strict=True)]
    return "\n".join(["x,y,label", *lines]) + "\n"
