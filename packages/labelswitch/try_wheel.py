"""Build wheel and sdist, and run the sdist's tests against the wheel in fresh environments.

For each Python twice: without the extras, then with all of them. uv does the work: ``python -m uv``
must run where this runs.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
from pathlib import Path

PACKAGE = Path(__file__).parent
PROJECT = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSIONS = [line.rpartition(" ")[2] for line in PROJECT["classifiers"] if "Python :: 3." in line]


def uv(*arguments, **options):
    """Run uv as a module of this Python."""
    return subprocess.run([sys.executable, "-m", "uv", *map(str, arguments)], **options)


def interpreter(version):
    """Return the path of a Python of this version, of pyenv or of those that uv finds, or None."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for path in pyenv.glob(f"versions/{version}.*/bin/python"):
        return str(path)
    find = ["python", "find", "--quiet", "--no-python-downloads", version]
    return uv(*find, capture_output=True, text=True).stdout.strip() or None


def build(folder):
    """Build the sdist, and from it the wheel; return the wheel and where the sdist is unpacked."""
    uv("build", "--quiet", "--out-dir", PACKAGE / "dist", PACKAGE, check=True)
    stem = f"{PROJECT['name']}-{PROJECT['version']}"
    with tarfile.open(PACKAGE / "dist" / f"{stem}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return PACKAGE / "dist" / f"{stem}-py3-none-any.whl", folder / stem


def run_tests(environment, target, source, options):
    """Install the wheel, with extras or without, and run the tests; return whether they pass.

    With the extras, a test that skips fails.
    """
    group = f"{source / 'pyproject.toml'}:test"
    install = ["pip", "install", "--quiet", "--python", environment, *options]
    uv(*install, target, "--group", group, check=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    tests = ["-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "--pyargs", "labelswitch"]
    variables = {**os.environ, **({"ALL_EXTRAS": "1"} if "[" in target else {})}
    return subprocess.run([python, *tests, "tests"], cwd=source, env=variables).returncode == 0


def main():
    """Build once, test with each Python, and fail if any test does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", nargs="+", metavar="PATH", help="by default, all that we find")
    parser.add_argument("--lock", type=Path, help="take the versions of this requirements.txt")
    parser.add_argument("--lowest", action="store_true", help="take the lowest versions allowed")
    arguments = parser.parse_args()
    pythons = arguments.python
    if not pythons:
        found = {version: interpreter(version) for version in VERSIONS}
        pythons = list(filter(None, found.values()))
        for version in (version for version in found if not found[version]):
            print(f"Python {version} is not here, so the wheel is not tested with it.")
    failed = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        options = ["--resolution", "lowest-direct"] if arguments.lowest else []
        if arguments.lock:
            lock = arguments.lock.read_text(encoding="utf-8").splitlines()
            (folder / "lock.txt").write_text("\n".join(x for x in lock if not x.startswith("-e")))
            options += ["--constraints", folder / "lock.txt"]
        wheel, source = build(folder)
        shutil.rmtree(source / "src")  # the wheel must do without
        for number, python in enumerate(pythons):
            environment = folder / str(number)
            uv("venv", "--quiet", "--python", python, environment, check=True)
            # In one environment, so that Numba compiles once.
            for extras in ("", f"[{','.join(PROJECT['optional-dependencies'])}]"):
                start = time.perf_counter()
                title = f"{python}: {wheel.name}{extras}"
                print(f"\n{title}", flush=True)
                if not run_tests(environment, f"{wheel}{extras}", source, options):
                    failed.append(title)
                print(f"{time.perf_counter() - start:.0f} s", flush=True)
    sys.exit("The tests fail with " + "; ".join(failed) if failed else 0)


if __name__ == "__main__":
    main()
