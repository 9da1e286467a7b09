"""What a figure draws is what its table holds, and where a reader points."""

import csv
import io

import pytest

from lm_lab.report import marks, style
from lm_lab.scaling.records import Band, Estimate


@pytest.fixture
def drawn():
    with style.applied():
        figure, (axes,) = style.panels(4, 2)
        words, runs = ["first", "second"], [["a", "b"], ["c"]]
        marks.points(axes, [1.0, 4.0], [2.0, 8.0], "dots", words=words, runs=runs)
        values = Band((1.0, 4.0), (3.0, 4.0), (2.0, None), (5.0, None))
        marks.band(axes, values, "law", "black")
        marks.estimates(axes, [2.0], [Estimate(5.0, 4.0, 7.0)], "vertex", color="black")
        axes.set_xlabel("compute $C$ (FLOPs)")
        figure.draw_without_rendering()
        return figure


def rows(figure) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(marks.table(figure))))


def test_the_table_holds_every_number_with_its_interval_and_runs(drawn):
    found = [(row["series"], row["x"], row["y"], row["low"], row["high"]) for row in rows(drawn)]
    assert found == [
        ("dots", "1.0", "2.0", "", ""),
        ("dots", "4.0", "8.0", "", ""),
        ("law", "1.0", "3.0", "2.0", "5.0"),
        ("law", "4.0", "4.0", "", ""),
        ("vertex", "2.0", "5.0", "4.0", "7.0"),
    ]
    assert [row["runs"] for row in rows(drawn)][:2] == ["a b", "c"]
    assert {row["across"] for row in rows(drawn)} == {"compute C (FLOPs)"}


def test_a_point_lies_where_it_is_drawn(drawn):
    first, second = marks.hits(drawn)
    assert (first.words, first.runs) == ("first", ("a", "b"))
    box = drawn.axes[0].get_position()
    for hit, across in ((first, 1.0), (second, 4.0)):
        low, high = drawn.axes[0].get_xlim()
        assert hit.x == pytest.approx(
            box.x0 + (box.x1 - box.x0) * (across - low) / (high - low), abs=1e-3
        )
    assert second.y < first.y  # from the top


def test_a_figure_drawn_in_another_way_gives_its_lines():
    figure, (axes,) = style.panels(3, 2)
    axes.plot([1, 2], [3, 4], label="loss")
    axes.axhline(3.5)
    assert [(row["series"], row["x"], row["y"]) for row in rows(figure)] == [
        ("loss", "1.0", "3.0"),
        ("loss", "2.0", "4.0"),
    ]
    assert marks.table(style.panels(3, 2)[0]) is None
