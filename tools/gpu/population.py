"""Populations of small decoders in one program against the same runs one after another, start-up
included, by model size: tools/benchmarks/population.py on a GPU.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from functools import partial

from tools.benchmarks import population
from tools.benchmarks.results import Row
from tools.gpu.job import Job, Part, Setting

# about 30k, 130k, .5M, 1M, 2.5M and 10M parameters
WIDTHS, MEMBERS = (24, 56, 128, 192, 304, 640), (16, 64)


def flags_of(setting: Setting) -> Namespace:
    """The flags of tools/bench population, with fewer ways and rounds than by default."""
    parser = ArgumentParser()
    population.add_flags(parser)
    flags = parser.parse_args(["--ways", "vmap", *([] if setting.rehearse else ["map"])])
    flags.rounds = 1 if setting.rehearse else 2
    flags.seconds = 0.1 if setting.rehearse else 1.5
    flags.population_figure = str(setting.out / "population.png")
    return flags


def jobs(setting: Setting) -> list[Job]:
    """A job a size and number of members: the sizes of the bars first, then those between."""
    flags, cells = flags_of(setting), list[population.Cell]()
    if setting.rehearse:
        wanted = [(16, 2)]
    else:
        widths = sorted(WIDTHS, key=lambda width: width not in (192, 640))
        wanted = [(width, members) for width in widths for members in MEMBERS]
    return [
        Job(f"width {width}, {members} members", partial(measure, width, members, flags, cells))
        for width, members in wanted
    ]


def measure(
    width: int, members: int, flags: Namespace, cells: list[population.Cell], left: float
) -> Iterator[Row]:
    """The rows of a size and number of members; draws the figure anew."""
    del left
    yield from population.measure(width, members, flags, cells)
    cells.sort()  # lines go from the smallest to the largest
    population.draw(cells, flags.population_steps, flags.population_figure)


PART = Part(jobs, "16 and 64 members in one program, one after another, by size", alone=False)
