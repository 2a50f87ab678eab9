"""The look of the figures: legible in light and dark pages, for the colour-blind, in grey."""

import matplotlib.pyplot as plt
import seaborn as sns

# Okabe and Ito's palette, ordered so that neighbours also differ in grey.
COLOURS = {
    "blue": "#0072B2",
    "orange": "#E69F00",
    "green": "#009E73",
    "red": "#D55E00",
    "purple": "#CC79A7",
    "sky": "#56B4E9",
    "black": "#222222",
    "grey": "#888888",
}


def use_style() -> None:
    """Set matplotlib and seaborn to the book's style for the rest of the notebook."""
    sns.set_theme(
        context="notebook",
        style="ticks",
        palette=[COLOURS[name] for name in ("blue", "orange", "green", "red", "purple", "sky")],
        rc={
            "figure.figsize": (7.0, 3.6),
            "figure.dpi": 110,
            "figure.facecolor": "white",
            "figure.constrained_layout.use": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "legend.frameon": False,
            "savefig.bbox": "tight",
            "font.size": 11,
            "axes.titlesize": 11,
        },
    )
    plt.rcParams["svg.hashsalt"] = "mixbook"
