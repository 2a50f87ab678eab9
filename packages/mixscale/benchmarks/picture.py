"""Draw the picture of the README from the stored results: ``python benchmarks/picture.py``."""

import json
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

PACKAGE = Path(__file__).parents[1]


def main():
    """Draw the largest one-pass table and the fits, and store the picture beside the README."""
    mpl.use("agg")
    records = json.loads((PACKAGE / "benchmarks" / "results.json").read_text())["records"]
    passes = [item for item in records if item["table"] == "one pass"]
    rows = max(item["rows"] for item in passes)
    passes = sorted(
        (item for item in passes if item["rows"] == rows), key=lambda item: item["ns_per_row"]
    )
    fits = sorted(
        (item for item in records if item["table"] == "fit" and item["case"] == "2 threads"),
        key=lambda item: item["rows"],
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
    names = [item["case"].replace(", exp and log of the maths library", "") for item in passes]
    times = [item["ns_per_row"] for item in passes]
    bars = left.barh(names, times, color=["C1" if "mixscale" in name else "C0" for name in names])
    left.bar_label(bars, fmt="%.1f", padding=3)
    left.set(xlabel="ns a row for value and gradient", title=f"{rows:,} rows", xscale="log")
    left.margins(x=0.15)
    right.loglog(
        [item["rows"] for item in fits], [item["cpu_seconds"] for item in fits], "o-", color="C1"
    )
    right.set(xlabel="rows", ylabel="CPU seconds", title="1,000 exact draws by mixscale.fit")
    right.set(ylim=(1, 100))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(PACKAGE / "picture.png", dpi=110)


if __name__ == "__main__":
    main()
