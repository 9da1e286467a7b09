"""The limits of the project: sizes, docstrings, names, and which packages an import may load."""

import ast
import configparser
import importlib
import re
import statistics
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("lm_lab", "configs", "experiments", "tools", "tests")
TREES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text())
    for folder in FOLDERS
    for path in sorted((ROOT / folder).rglob("*.py"))
}
PACKAGE = {name: tree for name, tree in TREES.items() if name.startswith("lm_lab/")}
FILE_LINES, MEDIAN_LINES, FUNCTION_LINES, FUNCTION_MEDIAN_LINES = 400, 130, 60, 12

LIBRARIES = ("jax", "flax", "optax", "orbax", "grain")
# Legacy according to their libraries' documentation, although they do not warn. orbax.checkpoint is
# v0; v1 is a module in it.
LEGACY = r"flax\.(training|optim|core\.frozen_dict)\b|optax\.tree_utils\b"
LEGACY += r"|jax\.experimental\.(pjit|maps|host_callback)\b"
LEGACY += r"|orbax\.checkpoint(?!\.v1\b)|jax\.(pmap|xmap|tree_map)$"


def none(found: list[str]) -> None:
    """Fails if anything was found, with one line for each finding."""
    assert not found, "\n" + "\n".join(found)


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


def lines(name: str) -> int:
    return len((ROOT / name).read_text().splitlines())


def tracked() -> list[Path]:
    """The files that git tracks or would track, so that environments and runs are skipped."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
    )
    if listed.returncode:
        pytest.skip("the tree is no git clone")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file()]


def test_files_are_short():
    none([f"{name}: {lines(name)} lines" for name in TREES if lines(name) > FILE_LINES])
    assert statistics.median(lines(name) for name in PACKAGE) <= MEDIAN_LINES


def test_functions_are_short():
    lengths = {
        f"{name}:{node.name}": length(node)
        for name, tree in TREES.items()
        for node in functions(tree)
    }
    none([f"{name}: {count} lines" for name, count in lengths.items() if count > FUNCTION_LINES])
    of_package = [count for name, count in lengths.items() if name.startswith("lm_lab/")]
    assert statistics.median(of_package) <= FUNCTION_MEDIAN_LINES


def undocumented(tree: ast.Module) -> Iterator[str]:
    """The module and its public functions and classes, where no docstring
    says what they are for.
    """
    if tree.body and not ast.get_docstring(tree):
        yield "the module"
    for node in tree.body:
        if (
            isinstance(node, ast.FunctionDef | ast.ClassDef)
            and not node.name.startswith("_")
            and not any(ast.unparse(mark) == "overload" for mark in node.decorator_list)
            and not ast.get_docstring(node)
        ):
            yield node.name


def test_what_is_public_is_documented():
    none([f"{name}: {what}" for name, tree in PACKAGE.items() for what in undocumented(tree)])


def silenced(tree: ast.Module) -> Iterator[int]:
    """The lines of every `except Exception: pass` and `suppress(Exception)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            broad = node.type is None or ast.unparse(node.type) in ("Exception", "BaseException")
            if broad and all(isinstance(line, ast.Pass) for line in node.body):
                yield node.lineno
        elif isinstance(node, ast.Call) and re.fullmatch(
            r"(\w+\.)?suppress\((Base)?Exception\)", ast.unparse(node)
        ):
            yield node.lineno


def test_no_error_is_swallowed():
    none([f"{name}:{line}" for name, tree in TREES.items() for line in silenced(tree)])


def probes(tree: ast.Module) -> Iterator[int]:
    """The lines that probe whether an object has a named attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = ast.unparse(node.func)
            if function == "hasattr" or (function == "getattr" and len(node.args) == 3):
                yield node.lineno


def test_no_part_is_probed_for_what_it_has():
    """Contracts say what each part has; fields of a dataclass are read by name, with no default."""
    none([f"{name}:{line}" for name, tree in PACKAGE.items() for line in probes(tree)])


def test_nothing_names_a_path_of_one_machine():
    machine = re.compile(
        r"(?<![\w.}>)])/(root|home|Users|work|opt|mnt)/(?!someone)\w|[A-Z]:\\Users"
    )
    found = []
    for path in tracked():
        if path.suffix in (".py", ".sh", ".cfg", ".toml", ".txt", ".md", ".html", ".json", ""):
            found += [
                f"{path.relative_to(ROOT)}: {line}"
                for line in path.read_text().splitlines()
                if machine.search(line)
            ]
    none(found)


def library_names(tree: ast.Module) -> set[str]:
    """The dotted names of LIBRARIES that a file uses, aliases resolved:
    `jnp.sum` is jax.numpy.sum.
    """
    aliases, used = {}, set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:  # `import a.b` binds a, `import a.b as c` binds c to a.b
                first = name.name.split(".")[0]
                aliases |= {name.asname: name.name} if name.asname else {first: first}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            aliases |= {
                name.asname or name.name: f"{node.module}.{name.name}" for name in node.names
            }
            used |= {f"{node.module}.{name.name}" for name in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and re.fullmatch(r"[\w.]+", dotted := ast.unparse(node)):
            first, _, rest = dotted.partition(".")
            if first in aliases:
                used.add(f"{aliases[first]}.{rest}")
    return {name for name in used if name.split(".")[0] in LIBRARIES}


def look_up(dotted: str) -> Any:
    """The object that a library has under the dotted name: a module, or the first object on the way
    that is not one.
    """
    found: Any = importlib.import_module(dotted.split(".")[0])
    for part in dotted.split(".")[1:]:
        if not isinstance(found, ModuleType):
            break
        found = (
            getattr(found, part)
            if hasattr(found, part)
            else importlib.import_module(f"{found.__name__}.{part}")
        )
    return found


def complaint(dotted: str) -> str:
    """Why not to use the name: legacy, gone, warns when looked up, or deprecated by its docstring.
    Else nothing.
    """
    if re.match(LEGACY, dotted):
        return "legacy"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            docstring = getattr(look_up(dotted), "__doc__", "")
    except (DeprecationWarning, FutureWarning, ImportError) as error:
        return str(error)
    return (
        "deprecated"
        if re.search(r"\.\. (warning::\s*)?deprecated", docstring or "", re.IGNORECASE)
        else ""
    )


def test_no_name_is_deprecated():
    used = {dotted for tree in TREES.values() for dotted in library_names(tree)}
    assert len(used) > 50
    none([f"{dotted}: {complaint(dotted)}" for dotted in sorted(used) if complaint(dotted)])


@pytest.mark.parametrize(
    "dotted",
    [
        "jax.tree_map",
        "optax.global_norm",
        "flax.training.train_state",
        "orbax.checkpoint.CheckpointManager",
    ],
)
def test_deprecated_names_are_known(dotted: str):
    assert complaint(dotted)


IMPORT_ALL = """
import importlib, pkgutil, sys, lm_lab
for module in pkgutil.walk_packages(lm_lab.__path__, "lm_lab."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print(*sys.modules)
"""


@pytest.mark.processes
def test_importing_lm_lab_brings_no_heavy_package_along():
    process = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=ROOT, check=True, capture_output=True, text=True
    )
    loaded = set(process.stdout.split())
    assert "lm_lab.cli.main" in loaded
    assert (
        loaded
        & {
            "flax.nnx",
            "qwix",
            "tensorflow",
            "tensorflow_datasets",
            "torch",
            "transformers",
            "pandas",
        }
        == set()
    )


def setup(section: str) -> dict[str, list[str]]:
    """A section of setup.cfg: the lines of each key."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return {
        key: [line for line in text.splitlines() if line] for key, text in parser[section].items()
    }


def normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()


def test_constraints_pin_all_that_is_asked_for():
    pins = [
        line
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if not line.startswith("#")
    ]
    none(
        [
            pin
            for pin in pins
            if not re.fullmatch(r"[\w.-]+==[\w.]+(; python_version [^#@/]+)?", pin)
        ]
    )
    extras = setup("options.extras_require")
    asked = (
        setup("options")["install_requires"]
        + extras["dev"]
        + extras["docs"]
        + extras["tasks"]
        + extras["ray"]
        + extras["interop"]
    )
    named = {normal(re.split(r"[^\w.-]", line)[0]) for line in asked if line[0] != "#"}
    missing = named - {normal("lm_lab")} - {normal(pin.split("==")[0]) for pin in pins}
    assert missing == set(), "run tools/refresh_constraints.py"


def test_messages_below_the_command_line_name_no_flag_for_a_directory():
    """The library says the same: there a directory is an argument."""
    below = [name for name in PACKAGE if not name.startswith("lm_lab/cli/")]
    none([f"{name}: --workdir" for name in below if "--workdir" in (ROOT / name).read_text()])
