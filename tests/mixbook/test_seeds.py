import numpy as np
import pytest

from mixbook import rng, seed


def test_streams_repeat_and_differ(monkeypatch):
    monkeypatch.delenv("MIXBOOK_SEED", raising=False)
    assert np.array_equal(rng(3).random(5), rng(3).random(5))
    assert len({seed(stream) for stream in range(100)}) == 100
    assert all(0 <= seed(stream) < 2**31 for stream in range(100))


def test_the_environment_shifts_every_stream(monkeypatch):
    monkeypatch.delenv("MIXBOOK_SEED", raising=False)
    plain = [seed(stream) for stream in range(20)]
    monkeypatch.setenv("MIXBOOK_SEED", "0")
    assert [seed(stream) for stream in range(20)] == plain
    monkeypatch.setenv("MIXBOOK_SEED", "7")
    assert not set(plain) & {seed(stream) for stream in range(20)}


def test_other_samplers_leave_stream_0_which_makes_data(monkeypatch):
    monkeypatch.delenv("MIXBOOK_SAMPLER", raising=False)
    plain = [seed(stream) for stream in range(20)]
    monkeypatch.setenv("MIXBOOK_SAMPLER", "3")
    moved = [seed(stream) for stream in range(20)]
    assert moved[0] == plain[0] == seed()
    assert not set(plain[1:]) & set(moved[1:])


@pytest.mark.parametrize("text", ["-1", "1.5", "seven", ""])
def test_a_shift_that_is_no_whole_number_is_refused(monkeypatch, text):
    monkeypatch.setenv("MIXBOOK_SEED", text)
    with pytest.raises(ValueError, match="MIXBOOK_SEED"):
        rng()
