"""Sphinx's settings for the site; tools/docs builds it."""

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

BUILD = Path(__file__).parents[1] / "build"
WIDEST = 5.4  # inches of a figure: the letters of a wider one are too small on a phone

project = "lm_lab"
author = "The lm_lab developers"
version = release = importlib.metadata.version("lm_lab")

extensions = ["myst_parser", "sphinx_copybutton", "sphinx_gallery.gen_gallery"]
root_doc = "index"
exclude_patterns = ["README.md", "docs/README.md"]
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline"]
suppress_warnings = [
    "myst.header",
    "config.cache",
]  # sections begin at any level; settings hold a function

html_theme = "furo"
html_title = f"lm_lab {version}"
html_copy_source = False
html_show_sphinx = html_show_copyright = False
html_static_path = ["static"]
html_css_files = ["site.css"]
smartquotes = False
html_theme_options = {"top_of_page_buttons": []}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
pygments_style = "friendly"
pygments_dark_style = "monokai"


def figure_of_a_cell(block: Any, variables: dict[str, Any], settings: dict[str, Any]) -> str:
    """The figure that is the value of a cell, which sphinx-gallery keeps under the name ___."""
    names = variables["example_globals"]
    figure, names["___"] = names.get("___"), None  # once: a later cell may have no value
    if not isinstance(figure, Figure):
        return ""
    path = next(variables["image_path_iterator"])
    width, height = figure.get_size_inches()
    if width > WIDEST:
        figure.set_size_inches(WIDEST, max(height * WIDEST / width, 0.6 * WIDEST))
    figure.savefig(path, dpi=150, bbox_inches="tight")
    return figure_rst([path], settings["src_dir"])


# notebooks run in a copy of their folder, where their runs lie; one that has not changed since it
# was last executed is not executed again
sphinx_gallery_conf = {
    "examples_dirs": [str(BUILD / "notebooks")],
    "gallery_dirs": ["docs/notebooks"],
    # torch is an extra that not every Python has
    "filename_pattern": "" if importlib.util.find_spec("torch") else "[a-fh]_",
    "within_subsection_order": "FileNameSortKey",
    "reset_modules": ("matplotlib",),
    "image_scrapers": (figure_of_a_cell,),
    "capture_repr": (),
    "download_all_examples": False,
    "remove_config_comments": True,
    "only_warn_on_example_error": False,
    "min_reported_time": 1e9,
    "parallel": True,  # as many at once as Sphinx has processes
    "show_signature": False,
    "write_computation_times": False,
}
