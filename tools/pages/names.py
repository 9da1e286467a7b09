"""The page of names: every public name of `import lm_lab`, and what files of each kind end in."""

import doctest
import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import lm_lab
from lm_lab import contracts
from tools.pages.markdown import anchor, code, fenced, plain, table, with_code

OPENING = """# Every public name

`import lm_lab` offers these; [lm_lab in Python](../library.md) shows them at work. The tests run
every example, after the blocks of that page, whose names the examples use.

"""
CONTRACTS = """## What files of your own end in

`lm_lab.contracts` has one value for each kind of file ([extending](../extending.md)). A field
with a default may be left out.

"""


def page() -> str:
    """The page, from the docstrings."""
    names = table(["name", "what it is"], [[_link(name), _first(name)] for name in lm_lab.__all__])
    sections = "\n".join(f"## {name}\n\n{''.join(_about(name))}" for name in lm_lab.__all__)
    kinds = "\n".join(map(_contract, contract_classes()))
    return f"{OPENING}{names}\n{sections}\n{CONTRACTS}{kinds}"


def _link(name: str) -> str:
    return f"[`{name}`](#{anchor(name)})"


def _first(name: str) -> str:
    text = " ".join((inspect.getdoc(getattr(lm_lab, name)) or "").split()).split(". ")[0]
    return with_code(text)


def _about(name: str) -> Iterator[str]:
    value = getattr(lm_lab, name)
    yield fenced(_signature(name, value), "python") + "\n" + prose(inspect.getdoc(value) or "")
    if inspect.isclass(value):
        for method, held in methods(value):
            title = f"{name}.{method}"
            shown = _signature(title, held) if callable(held) else f"{title}"
            yield f"\n### {title}\n\n{fenced(shown, 'python')}\n{prose(inspect.getdoc(held) or '')}"


def methods(cls: type) -> list[tuple[str, Any]]:
    """The public methods and properties that a class defines, by name."""
    return [
        (name, held)
        for name, held in vars(cls).items()
        if not name.startswith("_") and (inspect.isfunction(held) or _is_property(held))
    ]


def _is_property(held: Any) -> bool:
    return isinstance(held, property) or type(held).__name__ == "cached_property"


def _signature(name: str, value: Callable[..., Any]) -> str:
    if inspect.isclass(value) and issubclass(value, Exception):
        return f"{name}(message: str)"
    text = f"{name}{inspect.signature(value)}"
    text = re.sub(r"\(self(, )?", "(", text)
    text = re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Z])", "", text)  # of modules, the names of classes alone
    return text if len(text) <= 88 else re.sub(r"(?<=[(,]) ?(?=\w+\s*[:=]|\*)", "\n    ", text)


def prose(docstring: str) -> str:
    """A docstring as Markdown: its examples and indented tables as code."""
    blocks = []
    for piece in doctest.DocTestParser().parse(docstring):
        if isinstance(piece, doctest.Example):
            lines = piece.source.rstrip("\n").split("\n")
            shown = [f"{'... ' if number else '>>> '}{line}" for number, line in enumerate(lines)]
            blocks.append("\n".join([*shown, piece.want.rstrip("\n")]).rstrip("\n"))
        elif piece.strip():
            blocks += [_paragraph(text) for text in re.split(r"\n\s*\n", piece.strip("\n"))]
    merged: list[str] = []
    for block in blocks:  # examples that follow one another are one block of code
        if block.startswith(">>>") and merged and merged[-1].startswith(">>>"):
            merged[-1] += f"\n{block}"
        else:
            merged.append(block)
    shown = (fenced(text, "pycon") if text.startswith(">>>") else text for text in merged)
    return "\n".join(f"{text}\n" for text in shown)


def _paragraph(text: str) -> str:
    return fenced(text) if re.search(r"^\s*\S+ {2,}\S", text, re.MULTILINE) else with_code(text)


def contract_classes() -> list[type]:
    """The contracts; lm_lab.contracts gives those of optimizers from a file of their own."""
    found = [
        value
        for value in vars(contracts).values()
        if inspect.isclass(value)
        and issubclass(value, tuple)
        and value.__module__ in ("lm_lab.contracts", "lm_lab.optimizer_contract")
    ]
    return [value for value in found if hasattr(value, "_fields")]


def _contract(cls: Any) -> str:
    rows = [[code(name), _default(cls, name), meaning] for name, meaning in _fields(cls).items()]
    listed = table(["field", "default", "meaning"], rows)
    return f"### {cls.__name__}\n\n{prose(inspect.getdoc(cls) or '')}\n{listed}"


def _default(cls: Any, name: str) -> str:
    if name not in cls._field_defaults:
        return "required"
    value = cls._field_defaults[name]
    return "a function" if callable(value) else code(str(value))


def _fields(cls: Any) -> dict[str, str]:
    """The fields with what the comments above or beside them say."""
    found, above = {}, []
    for line in inspect.getsource(cls).split("\n"):
        text = line.strip()
        if text.startswith("#"):
            above.append(text.removeprefix("#").strip())
        elif (match := re.match(r"(\w+): ", text)) and match[1] in cls._fields:
            beside = text.partition("  # ")[2]
            found[match[1]], above = plain(" ".join([*above, beside]).strip()), []
        elif not text:
            above = []
    return found
