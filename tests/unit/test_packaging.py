"""An installation that is not editable has every package."""

from __future__ import annotations

import tomllib
from pathlib import Path

_ROOT = Path(__file__).parents[2]


def test_every_package_is_installed() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        ".".join(each.parent.relative_to(_ROOT).parts) for each in _ROOT.glob("credchain/**/__init__.py")
    }
    mapped = set(project["package-dir"])
    assert folders <= set(project["packages"])
    assert {each for each in project["packages"] if each not in mapped} <= folders
