"""The places that choose a Python, install the lock or name the commands agree."""

import json
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYTHON = (ROOT / ".python-version").read_text().strip()


def test_the_container_and_binder_use_the_books_python_and_its_lock():
    container = json.loads((ROOT / ".devcontainer/devcontainer.json").read_text())
    assert container["image"].endswith(f"python:{PYTHON}")
    assert container["postCreateCommand"] == "make .venv/installed"
    assert (ROOT / ".binder/runtime.txt").read_text() == f"python-{PYTHON}\n"
    post_build = ROOT / ".binder/postBuild"
    assert post_build.stat().st_mode & 0o111, "repo2docker runs it"
    assert "-r requirements.txt" in post_build.read_text()


def test_make_help_lists_every_command():
    text = (ROOT / "Makefile").read_text()
    commands = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()
    shown = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert re.findall(r"^  (\w+) +\S", shown, re.MULTILINE) == commands


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_commands_that_the_documents_name_exist(name):
    text = (ROOT / name).read_text()
    named = set(re.findall(r"`(?:\w+=\S+ )*make ([a-z]+)", text))
    commands = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1]
    assert named <= set(commands.split())
