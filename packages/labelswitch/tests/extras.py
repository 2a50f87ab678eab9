"""The packages that the extras bring: a test that uses a missing one skips."""

import os
from importlib import import_module

import pytest


class Missing:
    """Stands for a package that is not installed."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str):  # noqa: D105
        if "PYTEST_CURRENT_TEST" in os.environ:
            pytest.skip(f"needs {self._name}")
        raise AttributeError(attribute)  # while pytest looks through the module for tests


def optional(name: str):
    """Return a module, or a stand-in that skips the test which uses it."""
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.partition(".")[0]:
            raise
        return Missing(name)
