"""Relabel the draws of a mixture model whose labels have switched."""

from labelswitch.algorithms import (
    Relabelling,
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
from labelswitch.mixture import component_log_density, responsibilities

__all__ = [
    "Relabelling",
    "apply_permutations",
    "apply_to_allocations",
    "component_log_density",
    "data_based",
    "ecr",
    "ecr_iterative_1",
    "ecr_iterative_2",
    "order",
    "pra",
    "responsibilities",
    "sjw",
    "stephens",
]
