"""One place from which all randomness of the book comes."""

import os

import numpy as np

BOOK = 1549  # the number of the forum thread


def _whole(variable: str) -> int:
    text = os.environ.get(variable, "0")
    if not text.isdecimal():
        raise ValueError(
            f"{variable} is {text!r}; set it to a whole number from 0 upwards, or unset it."
        )
    return int(text)


def shift() -> int:
    """Return the value of ``MIXBOOK_SEED``, by which all seeds are shifted (0 where it is unset).

    Raises
    ------
    ValueError
        If the variable holds something other than a whole number from 0 upwards.
    """
    return _whole("MIXBOOK_SEED")


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

    Where ``MIXBOOK_SAMPLER`` is set to a number other than 0, the integers of all streams but 0 are
    others, and `rng` stays as it is: the samplers' randomness changes, the data do not. So the
    tolerances are measured. Stream 0 makes the forum's data.

    Raises
    ------
    ValueError
        If one of the two variables holds something other than a whole number from 0 upwards.

    Examples
    --------
    >>> seed(1) == seed(1), seed(1) == seed(2)
    (True, False)
    """
    sampler = _whole("MIXBOOK_SAMPLER")
    moved = sampler and stream
    generator = np.random.default_rng([BOOK, shift(), stream, sampler]) if moved else rng(stream)
    return int(generator.integers(2**31))
