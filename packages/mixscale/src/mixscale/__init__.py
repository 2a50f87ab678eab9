"""Mixtures of normals and of linear regressions with more rows than patience.

A name is loaded with its module when it is first used, so that the array layer never loads PyMC.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixscale.distributions import NormalMixture, RegressionMixture
    from mixscale.fitting import FitRefusedError, fit
    from mixscale.likelihood import (
        Gradient,
        Hessian,
        gradient,
        hessian,
        log_density,
        log_likelihood,
    )

__all__ = [
    "FitRefusedError",
    "Gradient",
    "Hessian",
    "NormalMixture",
    "RegressionMixture",
    "fit",
    "gradient",
    "hessian",
    "log_density",
    "log_likelihood",
]

# The module of each name; what is missing here is in `likelihood`.
_MODULES = {
    "FitRefusedError": "fitting",
    "NormalMixture": "distributions",
    "RegressionMixture": "distributions",
    "fit": "fitting",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("mixscale")
    elif name in __all__:
        from importlib import import_module

        module = import_module(f"mixscale.{_MODULES.get(name, 'likelihood')}")
        value = getattr(module, name)
    else:
        raise AttributeError(f"module 'mixscale' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
