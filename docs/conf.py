"""Sphinx's settings for the site; tools/docs builds it."""

import importlib.metadata

project = "lm_lab"
author = "The lm_lab developers"
version = release = importlib.metadata.version("lm_lab")

extensions = ["myst_parser", "sphinx_copybutton"]
root_doc = "index"
exclude_patterns = ["README.md", "docs/README.md"]
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline"]
suppress_warnings = ["myst.header"]  # pages of reference begin their sections at any level

html_theme = "furo"
html_title = f"lm_lab {version}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"top_of_page_buttons": []}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
pygments_style = "friendly"
pygments_dark_style = "monokai"
