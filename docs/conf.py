"""Sphinx: docs are built with warnings as errors by scripts/check. The reference is generated from the code."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import generate  # noqa: E402

import innkeeper  # noqa: E402

project = "Innkeeper"
author = "the Innkeeper developers"
release = innkeeper.__version__
extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "Innkeeper"

generate.write(HERE / "reference" / "generated")
