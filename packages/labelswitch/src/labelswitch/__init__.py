"""Relabel the draws of a mixture model whose labels have switched.

A name is loaded with its module when it is first used, so that the import costs next to nothing
and the array layer never loads xarray.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labelswitch.algorithms import (
        AlgorithmResult,
        apply_permutations,
        apply_to_allocations,
        data_based,
        ecr,
        ecr_iterative_1,
        ecr_iterative_2,
        order,
        pra,
        sjw,
        stephens,
    )
    from labelswitch.clustering import Partition, n_occupied, partition, similarity
    from labelswitch.diagnosis import Diagnosis, diagnose
    from labelswitch.mixture import component_log_density, responsibilities
    from labelswitch.plots import (
        plot_draws,
        plot_responsibilities,
        plot_similarity,
        plot_switches,
    )
    from labelswitch.relabelling import Relabelled, compare, relabel

__all__ = [
    "AlgorithmResult",
    "Diagnosis",
    "Partition",
    "Relabelled",
    "apply_permutations",
    "apply_to_allocations",
    "compare",
    "component_log_density",
    "data_based",
    "diagnose",
    "ecr",
    "ecr_iterative_1",
    "ecr_iterative_2",
    "n_occupied",
    "order",
    "partition",
    "plot_draws",
    "plot_responsibilities",
    "plot_similarity",
    "plot_switches",
    "pra",
    "relabel",
    "responsibilities",
    "similarity",
    "sjw",
    "stephens",
]

# The module of each name; what is missing here is in `algorithms`.
_MODULES = {
    "Diagnosis": "diagnosis",
    "Partition": "clustering",
    "Relabelled": "relabelling",
    "compare": "relabelling",
    "component_log_density": "mixture",
    "diagnose": "diagnosis",
    "n_occupied": "clustering",
    "partition": "clustering",
    "plot_draws": "plots",
    "plot_responsibilities": "plots",
    "plot_similarity": "plots",
    "plot_switches": "plots",
    "relabel": "relabelling",
    "responsibilities": "mixture",
    "similarity": "clustering",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value: object = version("labelswitch")
    elif name in __all__:
        from importlib import import_module

        module = import_module(f"labelswitch.{_MODULES.get(name, 'algorithms')}")
        value = getattr(module, name)
    else:
        raise AttributeError(f"module 'labelswitch' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
