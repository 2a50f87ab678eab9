"""The look of the figures, and a record of what each one draws.

Legible in light and dark pages, for the colour-blind, in grey. The record lets the tests compare
figures as data: nobody compares pixels.
"""

from collections.abc import Iterator

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from IPython import get_ipython
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import Collection, LineCollection, PathCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FuncFormatter

from mixbook.models import watch_models
from mixbook.values import watch_values

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
FINGERPRINT = "application/vnd.mixbook.figure+json"  # the type of the record in a cell's output


def use_style() -> None:
    """Set matplotlib and seaborn to the book's style for the rest of the notebook.

    In a notebook, each figure that is shown also leaves a record of what it draws, and each cell
    one of the models that it builds and one of the numbers that it computes.
    """
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
    if get_ipython() is not None:
        formatter = get_ipython().display_formatter.mimebundle_formatter
        formatter.for_type(Figure, lambda figure, **_: {FINGERPRINT: fingerprint(figure)})
    watch_models()
    watch_values()


def statistics(values: np.ndarray) -> list[float]:
    """Return what the record keeps of one coordinate of an artist.

    Parameters
    ----------
    values
        Any array of numbers.

    Returns
    -------
    list of float
        How many are finite and how many are not; the first and the last finite one; minimum,
        quartiles and maximum; to five significant digits.
    """
    values = np.asarray(np.ma.filled(np.ma.asarray(values, float), np.nan), float).ravel()
    finite = values[np.isfinite(values)]
    counts = [float(finite.size), float(values.size - finite.size)]
    if not finite.size:
        return counts
    kept = [finite[0], finite[-1], *np.quantile(finite, [0, 0.25, 0.5, 0.75, 1])]
    return counts + [float(f"{value:.5g}") for value in kept]


def _pairing(x: np.ndarray, y: np.ndarray) -> list[float]:
    """Return the correlation of two coordinates, which tells which value belongs to which."""
    x, y = (np.asarray(np.ma.filled(np.ma.asarray(v, float), np.nan)).ravel() for v in (x, y))
    kept = np.isfinite(x) & np.isfinite(y)
    if kept.sum() < 3 or np.ptp(x[kept]) == 0 or np.ptp(y[kept]) == 0:
        return []
    return [round(float(np.corrcoef(x[kept], y[kept])[0, 1]), 4)]


def _colours(colours: np.ndarray) -> str:
    """Return the distinct colours of an artist, in the order of their first use."""
    return " ".join(dict.fromkeys(to_hex(colour, keep_alpha=True) for colour in colours))


def _points(artist: Artist) -> np.ndarray:
    """Return the points (n, 2) that a line or a collection goes through."""
    if isinstance(artist, Line2D):
        return np.column_stack([np.asarray(v, float) for v in artist.get_data(orig=False)])
    if isinstance(artist, PathCollection):
        return np.ma.filled(np.ma.asarray(artist.get_offsets(), float), np.nan)
    if isinstance(artist, LineCollection):
        segments = [np.asarray(segment, float) for segment in artist.get_segments()]
    else:
        segments = [path.vertices for path in artist.get_paths()]
    return np.concatenate(segments) if segments else np.empty((0, 2))


def _record(artist: Artist) -> dict | None:
    """Return the record of one artist, or nothing where it shows no data."""
    kind = type(artist).__name__
    if isinstance(artist, AxesImage) or (kind == "QuadMesh"):
        values = artist.get_array()
        numbers = {"values": statistics(values)}
        if np.ndim(values) == 2:
            for name, index in zip(("rows", "columns"), np.indices(values.shape), strict=True):
                if pairing := _pairing(index, values):
                    numbers[f"{name} with values"] = pairing
        return {"kind": kind, "text": "", "numbers": numbers}
    if not isinstance(artist, Line2D | Collection):
        return None
    points = _points(artist)
    numbers = {"x": statistics(points[:, 0]), "y": statistics(points[:, 1])}
    if pairing := _pairing(points[:, 0], points[:, 1]):
        numbers["pairing"] = pairing
    if isinstance(artist, Line2D):
        colours = to_hex(artist.get_color())
        text = f"{colours} {artist.get_linestyle()} {artist.get_marker()}"
    else:
        face, edge = artist.get_facecolor(), artist.get_edgecolor()
        text = f"{_colours(face)} {_colours(edge)}".strip()
        if artist.get_array() is not None:
            text = ""  # the colours follow the values
            numbers["values"] = statistics(artist.get_array())
        elif len(face) == len(points) > 1:
            for name, channel in zip(("red", "green", "blue"), face.T[:3], strict=True):
                if pairing := _pairing(points[:, 0], channel):
                    numbers[f"x with {name}"] = pairing
        if isinstance(artist, PathCollection) and len(artist.get_sizes()) > 1:
            numbers["sizes"] = statistics(artist.get_sizes())
    return {"kind": kind, "text": text, "numbers": numbers}


def _artists(axes: Axes) -> Iterator[dict]:
    bars: dict[str, list] = {}
    for child in axes.get_children():
        if not child.get_visible() or child is axes.patch or child in axes.spines.values():
            continue
        if child in axes.patches:
            corners = child.get_transform().transform_path(child.get_path()).vertices
            corners = axes.transData.inverted().transform(corners)
            colour = child.get_facecolor() if child.get_fill() else child.get_edgecolor()
            bars.setdefault(to_hex(colour, keep_alpha=True), []).append(corners)
        elif child in axes.texts:
            x, y = child.get_position()
            if np.isreal(x) and np.isreal(y):
                numbers = {"position": [float(f"{float(v):.5g}") for v in (x, y)]}
                yield {"kind": "Text", "text": "", "numbers": numbers}
        elif record := _record(child):
            yield record
    for colour, corners in bars.items():
        x, y = np.concatenate(corners).T
        numbers = {"x": statistics(x), "y": statistics(y), "pairing": _pairing(x, y)}
        yield {"kind": "Patches", "text": colour, "numbers": numbers}


def _legend(legend) -> Iterator[str]:
    for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
        colour = handle.get_color() if hasattr(handle, "get_color") else handle.get_facecolor()
        colour = colour if isinstance(colour, str) else np.ravel(colour)[:4]
        yield f"{text.get_text()}: {to_hex(colour) if len(colour) else 'none'}"


def _texts(axes: Axes) -> Iterator[str]:
    for text in (axes.title, axes._left_title, axes._right_title):
        yield text.get_text()
    for axis in (axes.xaxis, axes.yaxis):
        yield axis.get_label_text()
        ticks = [tick.get_text() for tick in axis.get_ticklabels()]
        written = isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter)
        if written or any(not _is_number(tick) for tick in ticks):  # names of categories
            yield from ticks
    yield from (text.get_text() for text in axes.texts)
    if axes.get_legend():
        yield from _legend(axes.get_legend())


def _is_number(text: str) -> bool:
    text = text.replace("−", "-").replace("\\mathdefault", "").strip("${}")
    return not any(character.isalpha() for character in text)


def fingerprint(figure: Figure) -> dict:
    """Return a record of what a figure draws.

    Parameters
    ----------
    figure
        A figure, finished.

    Returns
    -------
    dict
        ``texts`` of the figure, and for each of its ``axes`` the ``texts`` (title, labels, ticks
        that are written or name categories, legend with colours), ``scales``, ``limits`` and
        ``artists``. An artist has a ``kind``, a ``text`` (its colours) and ``numbers``: for each
        coordinate its `statistics`, and the correlation between two coordinates. Bars and other
        patches of one colour count as one artist. Numbers have five significant digits.

    Examples
    --------
    >>> figure, axes = plt.subplots()
    >>> _ = axes.plot([1, 2, 4], [0, 1, 0])
    >>> fingerprint(figure)["axes"][0]["artists"][0]["numbers"]["x"]
    [3.0, 0.0, 1.0, 4.0, 1.0, 1.5, 2.0, 3.0, 4.0]
    >>> plt.close(figure)
    """
    recorded = []
    for axes in figure.axes:
        limits = [*axes.get_xlim(), *axes.get_ylim()]
        recorded.append(
            {
                "texts": [text for text in _texts(axes) if text],
                "scales": f"{axes.get_xscale()} {axes.get_yscale()}",
                "limits": [float(f"{float(limit):.5g}") for limit in limits],
                "artists": list(_artists(axes)),
            }
        )
    texts = [text.get_text() for text in figure.texts]
    texts += [line for legend in figure.legends for line in _legend(legend)]
    return {"texts": texts, "axes": recorded}
