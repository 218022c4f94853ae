"""How the documentation is built."""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "hermetic"
author = "The hermetic authors"
copyright = "2026, The hermetic authors"  # noqa: A001 - the name Sphinx reads
release = version_of("hermetic")
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]

autodoc_typehints = "description"
autodoc_member_order = "bysource"

# A broken reference is an error of the build; `make docs` turns warnings into errors.
nitpicky = False

html_theme = "furo"
html_title = "hermetic"
