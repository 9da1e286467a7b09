"""The page of errors: every UserError that the code can raise, with its remedy and its place."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeGuard

import lm_lab
from tools.pages.markdown import code, plain, table, trees

PACKAGE = Path(lm_lab.__path__[0])
OPENING = """# Every error

A mistake that you can mend is one line, exit code 2, and in Python a `lm_lab.UserError`. The line
names the key or the file, and behind a semicolon what to do. Where the second column is empty, the
line itself says what is allowed. `…` stands for what the line names. Search this page for a word of
the line that you were shown; all else that ends a program is a mistake of lm_lab's, and worth a
report.

"""


class Fault(NamedTuple):
    """A place that raises a UserError."""

    message: str  # with … for each value; "" where it is passed on from elsewhere
    file: str  # from the folder of the package
    line: int

    @property
    def remedy(self) -> str:
        """What the message says behind its last semicolon."""
        return self.message.rpartition("; ")[2] if "; " in self.message else ""

    @property
    def fault(self) -> str:
        """The message without its remedy."""
        return self.message.rpartition("; ")[0] or self.message


def page() -> str:
    """The page, a section for each folder of the package."""
    found = [fault for fault in faults() if is_shown(fault)]
    sections = []
    for folder in dict.fromkeys(_folder(fault) for fault in found):
        rows = [
            [plain(fault.fault), plain(fault.remedy), code(f"{fault.file}:{fault.line}")]
            for fault in found
            if _folder(fault) == folder
        ]
        sections.append(f"## {folder}\n\n{table(['error', 'remedy', 'raised in'], rows)}")
    return OPENING + "\n".join(sections)


def is_shown(fault: Fault) -> bool:
    """Whether the place says more than a line that it passes on."""
    return any(map(str.isalpha, fault.message))


def _folder(fault: Fault) -> str:
    return str(Path(fault.file).parent)


def faults() -> Iterator[Fault]:
    """Every UserError, or error of a kind of it, of the package, in the order of its files."""
    for name, tree in trees(PACKAGE).items():
        functions = _functions(tree) if any(map(_is_fault, ast.walk(tree))) else []
        constants = _texts(list(_own(tree))) if functions else {}
        for function in functions:
            own = list(_own(function))
            calls = [node for node in own if _is_fault(node)]
            names = constants | _texts(own) if calls else {}
            for node in calls:
                parts = [_message(part, names) for part in node.args]
                message = "; ".join(part for part in parts if any(map(str.isalpha, part)))
                message = re.sub("…+", "…", " ".join(message.split()))
                yield Fault(message, name, node.lineno)


def _functions(tree: ast.AST) -> list[ast.AST]:
    """A file and the functions in it, at any depth."""
    inside = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    return [tree, *inside]


def _is_fault(node: ast.AST) -> TypeGuard[ast.Call]:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in kinds(PACKAGE)
    )


@cache
def kinds(package: Path) -> set[str]:
    """UserError, and the classes that the package derives from it."""
    classes = [
        node
        for tree in trees(package).values()
        for node in tree.body
        if isinstance(node, ast.ClassDef)
    ]
    return {
        "UserError",
        *(each.name for each in classes if "UserError" in map(ast.unparse, each.bases)),
    }


def _own(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a function in the order of the text, without functions inside it."""
    ahead = [function]
    while ahead:
        node = ahead.pop()
        children = [
            child
            for child in ast.iter_child_nodes(node)
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        if node is not function:
            yield node
        ahead += reversed(children)


def _texts(nodes: list[ast.AST]) -> dict[str, ast.expr]:
    """The texts that a function gives to a name once, by name: a message may be put together."""
    found: dict[str, list[ast.expr]] = {}
    for node in nodes:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


def _message(node: ast.expr, names: dict[str, ast.expr]) -> str:
    """The text of a message, with … for what is known only as it is raised."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_message(part, names) for part in parts)
        case ast.FormattedValue(value=ast.Call(func=ast.Name(id="suggest" | "_near"))):
            return "did you mean …? (or all that is known)"
        case ast.FormattedValue(value=ast.Name(id=name)) | ast.Name(id=name) if name in names:
            text = _message(names[name], {key: names[key] for key in names if key != name})
            return text if any(map(str.isalpha, text)) else "…"
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _message(left, names) + _message(right, names)
        case ast.IfExp(body=body, orelse=other):
            texts = [
                text for text in (_message(body, names), _message(other, names)) if text != "…"
            ]
            return " / ".join(texts) or "…"
    return "…"
