"""The page of examples: a whole file of every kind that a researcher may add, as tests run it."""

import ast
from pathlib import Path
from typing import NamedTuple

from tools.pages.markdown import anchor, code, fenced, table, with_code

ROOT = Path(__file__).parents[2]
OUTSIDE = "tests/outside/my_lab"
OPENING = f"""# An example of every kind

Whole files of a package `my_lab`, which lies beside a config and is found on PYTHONPATH. Copy one,
change it, and name it by its dotted path. The tests train, launch and report with these very files
(`{OUTSIDE}`), and `lm-lab check my_lab.bag` tries any but the last two against the laws of its
kind. [Extending](../extending.md) says what each kind ends in, and
[every public name](names.md#what-files-of-your-own-end-in) has the fields.

"""


class Example(NamedTuple):
    """A file, and how it is used."""

    title: str
    file: str  # within my_lab, or a path from the root of the repository
    use: str  # Markdown

    @property
    def path(self) -> str:
        """The path from the root of the repository."""
        return self.file if "/" in self.file else f"{OUTSIDE}/{self.file}"


EXAMPLES = [
    Example(
        "A family",
        "bag.py",
        '`config.model.family = "my_lab.bag"`',
    ),
    Example(
        "A position scheme",
        "logarithmic.py",
        '`config.model.positions = {"name": "my_lab.logarithmic", "strength": 2.0}`, in every '
        "family with attention",
    ),
    Example(
        "An objective",
        "halved.py",
        '`config.objective.name = "my_lab.halved"`',
    ),
    Example(
        "An optimizer",
        "momentum.py",
        '`config.optimizer.name = "my_lab.momentum"`',
    ),
    Example(
        "A schedule",
        "inverse_root.py",
        '`config.schedule.name = "my_lab.inverse_root"`',
    ),
    Example(
        "A metric",
        "weights.py",
        'an objective names it: `metrics=lambda config: (MetricChoice("my_lab.weights"),)`, as '
        "[the one above](#an-objective) does",
    ),
    Example(
        "A task",
        "shouting.py",
        '`config.evaluation.tasks = {"loud": {"name": "my_lab.shouting"}}`, or '
        "`run.evaluate({...})`",
    ),
    Example(
        "A source",
        "blend.py",
        '`config.data.source.name = "my_lab.blend"`',
    ),
    Example(
        "A tokenizer",
        "letters.py",
        '`config.data.tokenizer = "my_lab.letters"`',
    ),
    Example(
        "An adapter",
        "eight_bits.py",
        '`config.adapter.name = "my_lab.eight_bits"`',
    ),
    Example(
        "An analysis", "least.py", 'a study says `analysis={"kind": "my_lab.least", "show": 2}`'
    ),
    Example(
        "An executor",
        "in_turn.py",
        "`lm-lab sweep STUDY --executor=my_lab.in_turn --executor.queue=long`",
    ),
    Example(
        "On-policy batches",
        "rollouts.py",
        "a loop of your own in Python: "
        "`engine = program.engine._replace(batch=rollouts.batch(task.model, rows, length))`",
    ),
    Example(
        "A mapping of a model of transformers",
        "lm_lab/interop/gpt2.py",
        "a file of `lm_lab/interop`, found by its `ARCHITECTURES`; then `lm-lab convert` reads and "
        "writes such models",
    ),
]


def page() -> str:
    """The page, a section for each example."""
    rows = [[f"[{each.title}](#{anchor(each.title)})", each.use] for each in EXAMPLES]
    sections = "\n".join(map(_section, EXAMPLES))
    return f"{OPENING}{table(['kind', 'how it is used'], rows)}\n{sections}"


def _section(example: Example) -> str:
    source = (ROOT / example.path).read_text()
    said = ast.get_docstring(ast.parse(source)) or ""
    about = with_code(" ".join(said.split()).removeprefix(f"{example.title}: "))
    opening = f"## {example.title}\n\n{about[0].upper()}{about[1:]}"
    return f"{opening} {code(example.path)}\n\n{fenced(source, 'python')}"
