"""Ticks that a reader can read, and colours that keep their order."""

import pytest

from lm_lab.report import style


@pytest.mark.parametrize(
    ("low", "high", "most"),
    [(3e3, 5e5, 7), (1.2, 2.3, 8), (0.001, 0.05, 3), (1e10, 1e13, 6), (1, 1e12, 5), (9.9, 10.2, 5)],
)
def test_ticks_are_few_inside_and_rising(low, high, most):
    ticks = style.log_ticks(low, high, most)
    assert 2 <= len(ticks) <= most + 1
    assert ticks == sorted(ticks)
    assert low < ticks[0]
    assert ticks[-1] < high


def test_compute_is_ticked_at_the_budgets_where_they_are_few():
    with style.applied():
        figure, (axes,) = style.panels(4, 3)
        style.flops_axis(axes.xaxis, [1e11, 3e12], [1e11, 3e11, 1e12, 3e12], 0.1)
        figure.draw_without_rendering()
        labels = [label.get_text() for label in axes.get_xticklabels()]
    assert labels == [r"$10^{11}$", r"$3\times 10^{11}$", r"$10^{12}$", r"$3\times 10^{12}$"]


def test_large_ticks_are_formulas_whose_typeface_has_every_digit():
    with style.applied():
        figure, (axes,) = style.panels(4, 3)
        style.log_axis(axes.xaxis, 8e18, 3e22)
        figure.draw_without_rendering()
        labels = [label.get_text() for label in axes.get_xticklabels()]
    assert r"$10^{20}$" in labels


def test_larger_budgets_are_darker():
    colours = style.budget_colours([1e12, 1e11, 3e11])
    lightness = [
        sum(int(colours[budget][i : i + 2], 16) for i in (1, 3, 5)) for budget in (1e11, 3e11, 1e12)
    ]
    assert lightness == sorted(lightness, reverse=True)


def test_a_figure_drawn_again_is_saved_as_the_same_bytes(tmp_path):
    for folder in (tmp_path / "one", tmp_path / "other"):
        with style.applied():
            figure, (axes,) = style.panels(2, 2)
            axes.plot([1, 2], [3, 4], label="$N$")
            axes.legend()
            assert style.save(figure, folder, "lines") == (folder / "lines.svg").read_bytes()
    for kind in ("png", "svg", "pdf"):
        saved = [(tmp_path / name / f"lines.{kind}").read_bytes() for name in ("one", "other")]
        assert saved[0] == saved[1]
