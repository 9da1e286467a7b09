"""Builds the site into build/site: copies the documents, writes the reference, runs Sphinx.

    python -m tools.pages                # the whole site, in build/site
    python -m tools.pages --reference    # the pages of reference alone, in build/documents

tools/docs calls it in an environment that has Sphinx.
"""

import gc
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lm_lab.runs.records import usable_cores
from tools.pages import commands, errors, examples, keys, layers, names, papers

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build"
STAGE = BUILD / "documents"  # a copy of the documents, laid out as the repository is
NOTEBOOKS = BUILD / "notebooks"
REFERENCE: dict[str, Callable[[], str]] = {
    "keys": keys.page,
    "names": names.page,
    "commands": commands.page,
    "errors": errors.page,
    "examples": examples.page,
    "layers": layers.page,
    "papers": papers.page,
}
NAVIGATION = {  # caption -> pages, from the root of the repository
    "Begin": ["docs/tour", "docs/install", "docs/notebooks/index", "docs/recipes"],
    "Guides": [
        *("docs/concepts", "docs/running", "docs/studies", "docs/library", "docs/extending"),
        "docs/reference/examples",
        *("docs/models", "docs/evaluation", "docs/sources", "docs/data", "docs/conversion"),
    ],
    "Reference": [
        *("docs/reference/keys", "docs/reference/commands", "docs/reference/names"),
        *("docs/files", "docs/reference/errors"),
    ],
    "Results": [
        *("docs/results", "experiments/isoflop_demo", "experiments/architectures"),
        *("experiments/horizons", "experiments/mup_transfer"),
        *("experiments/tokenizers", "experiments/korean", "experiments/published"),
        *("docs/calibration", "docs/speed", "docs/reference/papers"),
    ],
    "The house": ["CONTRIBUTING", "docs/reference/layers", "CHANGELOG"],
}
# tiny programs are compiled with few optimisations, and in one piece
QUICK = ["--xla_cpu_opt_preset=FAST_COMPILE", "--xla_cpu_parallel_codegen_split_count=1"]
OLDER_EMITTERS = "--xla_cpu_use_fusion_emitters=false"  # a third of the time; gone from JAX 0.11 on
COPIED = ("README.md", "CITATION.cff", "CHANGELOG.md", "CONTRIBUTING.md", "docs", "experiments")


def main() -> None:
    gc.disable()  # syntax trees are millions of objects that live to the end
    stage()
    if "--reference" not in sys.argv:
        sys.exit(sphinx())


def stage() -> None:
    """Copies the documents to STAGE, and writes the pages of reference among them."""
    for name in COPIED:
        source, target = ROOT / name, STAGE / name
        if source.is_dir():
            apart = shutil.ignore_patterns("notebooks")
            shutil.copytree(source, target, dirs_exist_ok=True, ignore=apart)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    (STAGE / "index.md").write_text((ROOT / "README.md").read_text() + navigation())
    for path in STAGE.rglob("*.md"):  # the site begins with the README, and lists pages at the side
        text = path.read_text()
        for old in ("](../README.md", "](docs/README.md", "](README.md"):
            text = text.replace(old, "](/index.md")
        path.write_text(re.sub(r"(\]\(notebooks/\w+)\.py\)", r"\1.rst)", text))
    shutil.rmtree(NOTEBOOKS, ignore_errors=True)  # with the runs of an earlier build
    shutil.copytree(ROOT / "docs/notebooks", NOTEBOOKS)
    folder = STAGE / "docs/reference"
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in REFERENCE.items():
        (folder / f"{name}.md").write_text(page())


def navigation() -> str:
    """The tables of contents, which Sphinx shows at the side."""
    blocks = []
    for caption, pages in NAVIGATION.items():
        listed = "\n".join(f"/{page}" for page in pages)
        blocks.append(f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{listed}\n```\n")
    return "".join(blocks)


def sphinx() -> int:
    """Runs Sphinx on STAGE, with warnings as errors; its exit code. Notebooks are executed beside
    one another, a core each.
    """
    words = ["-b", "html", "-W", "--keep-going", "-q", "-c", str(ROOT / "docs")]
    words += ["-j", str(len(usable_cores())), "-d", str(BUILD / "doctrees")]
    words += [str(STAGE), str(BUILD / "site")]
    command = [sys.executable, "-m", "sphinx", *words]
    code = subprocess.run(command, cwd=ROOT, env=quick() | os.environ).returncode
    if code == 0:
        print(f"site: {BUILD / 'site' / 'index.html'}")
    return code


def quick() -> dict[str, str]:
    """The environment in which the tiny programs of notebooks compile in the least time."""
    release = importlib.metadata.version("jax").split(".")
    older = [OLDER_EMITTERS] if (int(release[0]), int(release[1])) < (0, 11) else []
    return {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true", "XLA_FLAGS": " ".join([*QUICK, *older])}


if __name__ == "__main__":
    main()
