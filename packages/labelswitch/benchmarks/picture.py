"""Draw the picture of the README from the README's own code: ``python benchmarks/picture.py``."""

import re
from pathlib import Path

import matplotlib as mpl

import labelswitch

PACKAGE = Path(__file__).parents[1]


def main():
    """Run the README's code block and store the picture beside the README."""
    mpl.use("agg")
    text = (PACKAGE / "README.md").read_text(encoding="utf-8")
    names = {}
    exec(re.findall(r"^```python\n(.*?)^```", text, flags=re.M | re.S)[0], names)
    collection = labelswitch.plot_draws(
        names["dt"],
        relabelled=labelswitch.relabel(names["dt"]),
        backend="matplotlib",
        figure_kwargs={"figsize": (9, 4.5)},
    )
    collection.viz["figure"].item().savefig(PACKAGE / "picture.png", dpi=110)


if __name__ == "__main__":
    main()
