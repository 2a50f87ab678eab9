"""What the chapters share: data, seeds, claims, figures and the printing of fits.

Models are not here: each chapter defines its own, in full, so that a reader can copy it.
"""

from mixbook.claims import ClaimError, claim
from mixbook.data import ForumData, load_forum, load_table, simulate_forum
from mixbook.figures import COLOURS, use_style
from mixbook.reports import fit_report, quiet_sampling, show_table, watermark
from mixbook.seeds import rng, seed

__all__ = [
    "COLOURS",
    "ClaimError",
    "ForumData",
    "claim",
    "fit_report",
    "load_forum",
    "load_table",
    "quiet_sampling",
    "rng",
    "seed",
    "show_table",
    "simulate_forum",
    "use_style",
    "watermark",
]
