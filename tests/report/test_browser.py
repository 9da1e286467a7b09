"""The page in a browser: quiet, readable at every width, and a point says what it is."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from matplotlib.figure import Figure as Drawing

from lm_lab.report import marks, style
from lm_lab.report import page as pages
from tests.report import browser

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(browser.program() is None, reason="no Chromium here"),
]

HOSTILE = (
    "<script>window.hacked = 1</script> \"a\" 'b' & $x^{2 \u202eright to left \u05d0 \U0001d4b3"
)
CLOSING = '</script><img src=x onerror="window.hacked = 1"><!-- ]]>'
TIP = "document.getElementById('tip')"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Page]:
    with browser.browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page that says hostile words wherever words can come from a user."""
    folder = tmp_path_factory.mktemp("hostile")
    figure = pages.Figure("points", HOSTILE, HOSTILE, HOSTILE, _draw)
    table = pages.Table([HOSTILE], [[HOSTILE]], HOSTILE, sortable=True)
    report = pages.Report(
        [HOSTILE],
        [pages.Headline(HOSTILE, HOSTILE, HOSTILE)],
        [pages.Section(HOSTILE, [figure, table, pages.Code(CLOSING)])],
    )
    about = {HOSTILE: pages.About(HOSTILE, CLOSING)}
    html = pages.render(HOSTILE, HOSTILE, [(HOSTILE, HOSTILE)], report, folder / "figures", about)
    (folder / "report.html").write_text(html, encoding="utf-8")
    return folder / "report.html"


def _draw() -> Drawing:
    figure, (axes,) = style.panels(3, 2)
    words, runs = [CLOSING, CLOSING], [[HOSTILE], [HOSTILE]]
    marks.points(axes, [1.0, 2.0], [1.0, 3.0], HOSTILE, words=words, runs=runs)
    axes.set_title(style.literal(HOSTILE[:30]))
    return figure


def point_at(window: browser.Page, figure: str, hit: int) -> None:
    """Moves the mouse to a point of a figure."""
    window.run(f"document.getElementById('{figure}').scrollIntoView({{behavior: 'instant'}})")
    script = f"""(() => {{
        const box = document.querySelector('#{figure} img').getBoundingClientRect();
        const [x, y] = JSON.parse(document.querySelector('#{figure} script').textContent).at({hit});
        return [box.left + x * box.width, box.top + y * box.height];
    }})()"""
    window.move(*window.run(script))


@pytest.mark.parametrize(
    ("width", "height", "dark", "media"),
    [
        (1280, 900, False, ""),
        (1280, 900, True, ""),
        (360, 740, False, ""),
        (794, 1123, True, "print"),
    ],
)
def test_the_page_is_quiet_opens_with_the_answer_and_fits(
    window, report, width, height, dark, media
):
    window.shape(width, height, dark=dark, media=media)
    window.open(report / "report.html")
    assert window.faults() == []
    assert window.run("document.documentElement.scrollWidth") <= width
    assert window.run("document.querySelector('.answer').getBoundingClientRect().top") < height / 2
    paper = window.run("getComputedStyle(document.body).backgroundColor")
    lightness = sum(map(int, paper.removeprefix("rgb(").removesuffix(")").split(",")))
    assert (lightness < 120) == (dark and not media)  # paper is white
    assert window.run("[...document.images].every((image) => image.naturalWidth > 0)")


def test_a_point_shows_its_runs_and_their_commands(window, report):
    window.shape(1280, 900)
    window.open(report / "report.html")
    assert window.run(f"{TIP}.hidden")
    point_at(window, "frontier", 0)
    assert not window.run(f"{TIP}.hidden")
    shown = window.run(f"{TIP}.innerText")
    assert "loss" in shown
    assert "model.width 8" in shown
    assert "lm-lab members DIR 00000000000" in shown
    window.move(2, 2)
    assert window.run(f"{TIP}.hidden")


def test_the_arrow_keys_go_from_point_to_point(window, report):
    window.run("document.querySelector('#frontier .plot').focus()")
    shown = []
    for key in ("ArrowRight", "ArrowRight", "Escape"):
        window.ask("Input.dispatchKeyEvent", type="keyDown", key=key)
        shown.append((window.run(f"{TIP}.hidden"), window.run(f"{TIP}.innerText")))
    assert [hidden for hidden, _ in shown] == [False, False, True]
    assert shown[0][1] != shown[1][1]


def test_hostile_words_are_shown_as_they_are(window, hostile):
    window.shape(1280, 900)
    window.open(hostile)
    assert window.faults() == []
    point_at(window, "points", -1)
    shown = window.run(f"{TIP}.textContent")
    assert CLOSING in shown
    assert f"run {HOSTILE}: {HOSTILE}" in shown
    assert window.run("document.querySelector('h1').textContent") == HOSTILE
    assert window.run("document.querySelector('td').textContent") == HOSTILE
    assert window.run("typeof window.hacked") == "undefined"
