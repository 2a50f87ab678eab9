"""Build wheels and sdists, and run each sdist's tests against its wheel in fresh environments.

For each package and Python twice: without the extras, then with all of them. uv does the work:
``python -m uv`` must run where this runs.
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

PACKAGES = sorted(path.parent.name for path in Path(__file__).parent.glob("*/pyproject.toml"))


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


def interpreters(project):
    """Return the Pythons that a package names and that are here."""
    lines = (line for line in project["classifiers"] if "Python :: 3." in line)
    found = {version: interpreter(version) for version in (line.split()[-1] for line in lines)}
    for version in (version for version in found if not found[version]):
        print(f"Python {version} is not here, so the wheel is not tested with it.")
    return list(filter(None, found.values()))


def build(package, project, folder):
    """Build the sdist, and from it the wheel; return the wheel and where the sdist is unpacked."""
    uv("build", "--quiet", "--out-dir", package / "dist", package, check=True)
    stem = f"{project['name']}-{project['version']}"
    with tarfile.open(package / "dist" / f"{stem}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return package / "dist" / f"{stem}-py3-none-any.whl", folder / stem


def run_tests(environment, name, target, source, options):
    """Install the wheel, with extras or without, and run the tests; return whether they pass.

    With the extras, a test that skips fails.
    """
    group = f"{source / 'pyproject.toml'}:test"
    install = ["pip", "install", "--quiet", "--python", environment, *options]
    uv(*install, target, "--group", group, check=True)
    python = environment / ("Scripts" if os.name == "nt" else "bin") / "python"
    tests = ["-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", "--pyargs", name, "tests"]
    variables = {**os.environ, **({"ALL_EXTRAS": "1"} if "[" in target else {})}
    return subprocess.run([python, *tests], cwd=source, env=variables).returncode == 0


def try_package(name, folder, pythons, options):
    """Build one package and test it with each Python; return what has failed."""
    package = Path(__file__).with_name(name)
    text = (package / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    wheel, source = build(package, project, folder)
    shutil.rmtree(source / "src")  # the wheel must do without
    failed = []
    for number, python in enumerate(pythons or interpreters(project)):
        environment = folder / f"{name}-{number}"
        uv("venv", "--quiet", "--python", python, environment, check=True)
        # In one environment, so that Numba compiles once.
        for extras in ("", f"[{','.join(project['optional-dependencies'])}]"):
            start = time.perf_counter()
            title = f"{python}: {wheel.name}{extras}"
            print(f"\n{title}", flush=True)
            if not run_tests(environment, name, f"{wheel}{extras}", source, options):
                failed.append(title)
            print(f"{time.perf_counter() - start:.0f} s", flush=True)
    return failed


def main():
    """Build once, test with each Python, and fail if any test does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", nargs="*", choices=PACKAGES, help="by default, all packages")
    parser.add_argument("--python", nargs="+", metavar="PATH", help="by default, all that we find")
    parser.add_argument("--lock", type=Path, help="take the versions of this requirements.txt")
    parser.add_argument("--lowest", action="store_true", help="take the lowest versions allowed")
    arguments = parser.parse_args()
    failed = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        options = ["--resolution", "lowest-direct"] if arguments.lowest else []
        if arguments.lock:
            lock = arguments.lock.read_text(encoding="utf-8").splitlines()
            (folder / "lock.txt").write_text("\n".join(x for x in lock if not x.startswith("-e")))
            options += ["--constraints", folder / "lock.txt"]
        for name in arguments.package or PACKAGES:
            failed += try_package(name, folder, arguments.python, options)
    sys.exit("The tests fail with " + "; ".join(failed) if failed else 0)


if __name__ == "__main__":
    main()
