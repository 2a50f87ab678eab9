"""Relabel the draws of a mixture model whose labels have switched."""

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
from labelswitch.diagnosis import Diagnosis, diagnose
from labelswitch.mixture import component_log_density, responsibilities
from labelswitch.relabelling import Relabelled, compare, relabel

__all__ = [
    "AlgorithmResult",
    "Diagnosis",
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
    "order",
    "pra",
    "relabel",
    "responsibilities",
    "sjw",
    "stephens",
]
