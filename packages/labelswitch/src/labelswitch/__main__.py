"""Diagnose and relabel the draws in a NetCDF file: ``python -m labelswitch draws.nc``."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import xarray as xr


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m labelswitch",
        description="Say whether labels have switched in the draws of a mixture model, and write "
        "the draws relabelled. The file is one that ArviZ writes from PyMC, NumPyro, Stan or R: "
        "NetCDF with a group 'posterior' of dimensions chain and draw.",
    )
    parser.add_argument("draws", type=Path, help="the NetCDF file; it is only read")
    parser.add_argument(
        "--dim",
        nargs="+",
        default=["component"],
        metavar="NAME",
        help="the dimensions that index components (default: component)",
    )
    parser.add_argument("--method", help="the relabelling method; by default what the draws allow")
    parser.add_argument("--by", metavar="NAME", help="a dimension of groups with their own labels")
    parser.add_argument("--allocations", nargs="+", metavar="NAME", help="variables of labels")
    parser.add_argument(
        "--one-based",
        action="store_true",
        help="the labels count from 1, as in R and Stan, and shall do so in the output",
    )
    parser.add_argument("--responsibilities", metavar="NAME", help="variable of P(z | y)")
    parser.add_argument("--var-names", nargs="+", metavar="NAME", help="parameters to align")
    parser.add_argument(
        "--output", type=Path, help="the file to write (default: <draws>.relabelled.nc)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the output if it exists")
    return parser


def _named(dt: xr.DataTree, names: Sequence[str]) -> list[tuple[str, str, xr.DataArray]]:
    """Return group, name and values of the variables of these names, in every group of draws."""
    from labelswitch.draws import draw_groups

    return [
        (group, name, dataset[name])
        for group, dataset in draw_groups(dt).items()
        for name in set(names) & set(dataset.data_vars)
    ]


def _read_labels(dt: xr.DataTree, names: Sequence[str]) -> None:
    """Turn labels that were read as floats, such as those with a fill value, into integers."""
    from labelswitch.draws import has_densities

    for group, name, values in _named(dt, names):
        whole = values.dtype.kind == "f" and bool((values == values.round()).all())
        if whole and not has_densities(group):
            dt[group][name] = values.astype(int)
            warnings.warn(
                f"{name!r} was read as whole numbers of type {values.dtype}, and is taken as "
                "integers.",
                UserWarning,
                stacklevel=2,
            )


def _count_from(dt: xr.DataTree, names: Sequence[str], first: int) -> None:
    """Let labels that count from 0 count from 1, and with -1 those that count from 1 from 0."""
    for group, name, values in _named(dt, names):
        if values.dtype.kind in "iu":
            if first < 0 and values.min() < 1:
                raise ValueError(
                    f"the labels of {name!r} go down to {int(values.min())}, so they do not count "
                    "from 1: leave --one-based out."
                )
            dt[group][name] = values.astype(int) + first


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        0 where the relabelled draws were written; 1 where they were not, because there are missing
        values, and 2 where the file or an argument is wrong.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    output = given.output or given.draws.with_suffix(".relabelled.nc")
    try:
        import h5netcdf  # noqa: F401
        import h5py  # noqa: F401
    except ModuleNotFoundError as error:
        parser.error(f"{error.name} is needed to read NetCDF: pip install 'labelswitch[netcdf]'.")
    if given.draws.is_dir():
        parser.error(
            f"draws: {given.draws} is a folder, and the command reads NetCDF files. Write a Zarr "
            f"store as one: xarray.open_datatree({str(given.draws)!r}).to_netcdf('draws.nc')."
        )
    if not given.draws.is_file():
        parser.error(f"draws: there is no file {given.draws}.")
    if output.is_dir():
        parser.error(f"--output: {output} is a folder; name a file.")
    if output.exists() and not given.overwrite:
        parser.error(f"--output: {output} exists; name another file, or say --overwrite.")
    if not output.absolute().parent.is_dir():
        parser.error(f"--output: there is no folder {output.absolute().parent}.")
    if output.resolve() == given.draws.resolve():
        parser.error("--output: this is the file of the draws, which stays as it is.")

    if given.one_based and not given.allocations:
        parser.error("--one-based: name the variables of labels, --allocations.")

    import xarray as xr

    from labelswitch import diagnose

    inputs = {
        "method": given.method,
        "by": given.by,
        "allocations": given.allocations,
        "responsibilities": given.responsibilities,
        "var_names": given.var_names,
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        try:
            dt = xr.open_datatree(given.draws, engine="h5netcdf").load()
            dt.close()
            _read_labels(dt, given.allocations or ())
            if given.one_based:
                _count_from(dt, given.allocations, -1)
            diagnosis = diagnose(
                dt, dim=given.dim, **{name: item for name, item in inputs.items() if item}
            )
        except (KeyError, OSError, TypeError, ValueError) as error:
            remedy = " Or say --one-based." if "look 1-based" in str(error) else ""
            parser.error(f"{given.draws}: {error}{remedy}")
    for item in caught:
        if issubclass(item.category, UserWarning):
            print(f"warning: {item.message}", file=sys.stderr)
    print(diagnosis)
    if diagnosis.relabelled is None:
        print("\nNothing was written.")
        return 1
    if given.one_based:
        _count_from(diagnosis.relabelled.dt, given.allocations, 1)
    diagnosis.relabelled.dt.to_netcdf(output, engine="h5netcdf")
    print(f"\nThe relabelled draws are in {output}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
