"""One place from which all randomness of the book comes."""

import os

import numpy as np

BOOK = 1549  # the number of the forum thread


def shift() -> int:
    """Return the value of ``MIXBOOK_SEED``, by which all seeds are shifted (0 where it is unset).

    Raises
    ------
    ValueError
        If the variable holds something other than a whole number from 0 upwards.
    """
    text = os.environ.get("MIXBOOK_SEED", "0")
    if not text.isdecimal():
        raise ValueError(
            f"MIXBOOK_SEED is {text!r}; set it to a whole number from 0 upwards, or unset it."
        )
    return int(text)


def rng(stream: int = 0) -> np.random.Generator:
    """Return a new random generator of the book.

    Parameters
    ----------
    stream
        A whole number from 0 upwards. Different streams are independent of each other; the same
        stream gives the same numbers in every chapter.

    Returns
    -------
    numpy.random.Generator
        Seeded by the book's number, ``MIXBOOK_SEED`` and `stream`.

    Examples
    --------
    >>> bool(rng(1).random() == rng(1).random())
    True
    >>> bool(rng(1).random() == rng(2).random())
    False
    """
    return np.random.default_rng([BOOK, shift(), stream])


def seed(stream: int = 0) -> int:
    """Return the integer to pass as ``random_seed=``, for the same streams as `rng`.

    Examples
    --------
    >>> seed(1) == seed(1), seed(1) == seed(2)
    (True, False)
    """
    return int(rng(stream).integers(2**31))
