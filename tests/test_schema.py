from dataclasses import dataclass
from typing import Literal

import pytest

from lm_lab.plain import plain
from lm_lab.schema import build, choice, setting, suggest
from lm_lab.types import UserError


@dataclass(frozen=True)
class Settings:
    width: int = setting("how wide", low=1, high=100)
    rate: float = setting("how fast", 0.5, low=0.0)
    steps: int | None = setting("how long", None, low=1)
    kind: Literal["round", "square"] = setting("which shape", "round")
    name: str = setting("what it is called", "x")
    fast: bool = setting("whether it hurries", False)
    paths: tuple[str, ...] = setting("where", ())
    weights: tuple[float, ...] | None = setting("how much of each", None, low=0.0)

    def __post_init__(self):
        if self.kind == "square" and self.width % 2:
            raise UserError(f"a square of width {self.width} cannot be halved")


def test_defaults_fill_what_is_left_out():
    assert build(Settings, {"width": 3}, "config.s") == Settings(3)


@pytest.mark.parametrize(
    "given, kept",
    [
        ({"rate": 1}, 1.0),
        ({"width": 4.0}, 4),
        ({"steps": 7}, 7),
        ({"steps": None}, None),
        ({"kind": "square", "width": 2}, "square"),
        ({"paths": ["a", "b"]}, ("a", "b")),
        ({"weights": [1, 0.5]}, (1.0, 0.5)),
    ],
)
def test_values_become_the_types_of_their_fields(given, kept):
    value = getattr(build(Settings, {"width": 2} | given, "config.s"), next(iter(given)))
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    "given, message",
    [
        ({}, "config.s.width is missing: how wide"),
        ({"widht": 3}, "config.s.widht does not exist; did you mean 'width'?"),
        (
            {"zzzzzz": 3},
            "config.s.zzzzzz does not exist; known: fast, kind, name, paths, rate, steps, weights, "
            "width",
        ),
        ({"width": "3"}, "config.s.width must be a whole number, not '3'"),
        ({"width": 3.5}, "config.s.width must be a whole number, not 3.5"),
        ({"width": True}, "config.s.width must be a whole number, not True"),
        ({"width": None}, "config.s.width must be a whole number, not None"),
        ({"width": 0}, "config.s.width must be at least 1, not 0"),
        ({"width": 101}, "config.s.width must be at most 100, not 101"),
        ({"rate": float("nan")}, "config.s.rate must be finite, not nan"),
        ({"rate": float("inf")}, "config.s.rate must be finite, not inf"),
        ({"rate": 10**400}, "config.s.rate must be finite, not a number of more than 300 digits"),
        ({"rate": "fast"}, "config.s.rate must be a number, not 'fast'"),
        ({"steps": -5}, "config.s.steps must be at least 1, not -5"),
        ({"steps": "many"}, "config.s.steps must be a whole number or None, not 'many'"),
        ({"kind": "oval"}, "config.s.kind must be one of round, square, not 'oval'"),
        ({"kind": ["round"]}, "config.s.kind must be one of round, square, not ['round']"),
        ({"name": 3.5}, "config.s.name must be text, not 3.5"),
        ({"fast": 1}, "config.s.fast must be True or False, not 1"),
        (
            {"paths": "a,b"},
            "config.s.paths must be a list, each text, not 'a,b'; write ['a', 'b']",
        ),
        ({"paths": ["a", 1.5]}, "config.s.paths must be a list, each text, not ['a', 1.5]"),
        ({"weights": [0.5, -1]}, "config.s.weights must be at least 0.0, not -1.0"),
        ({"kind": "square", "width": 3}, "config.s: a square of width 3 cannot be halved"),
    ],
)
def test_every_mistake_is_one_line_that_names_the_key(given, message):
    with pytest.raises(UserError) as caught:
        build(
            Settings, given if not given or "width" in given else {"width": 2} | given, "config.s"
        )
    assert str(caught.value) == message


def test_a_suggestion_is_the_nearest_name_or_all():
    assert suggest("dept", ["depth", "width"]) == "did you mean 'depth'?"
    assert suggest("q", ["depth", "width"]) == "known: depth, width"
    assert suggest("q", []) == "known: none"


@dataclass(frozen=True)
class Rotary:
    base: float = setting("wavelength", 10_000.0, low=1.0)


@dataclass(frozen=True)
class Learned:
    length: int | None = setting("longest", None, low=1)


@dataclass(frozen=True)
class Chooses:
    positions: Rotary | Learned = choice(
        "how order is seen", {"rotary": Rotary, "learned": Learned}, Rotary()
    )


@pytest.mark.parametrize(
    "given, wanted",
    [
        ({}, Rotary()),
        ({"positions": "learned"}, Learned()),
        ({"positions": {"name": "rotary", "base": 5}}, Rotary(5.0)),
        ({"positions": Learned(3)}, Learned(3)),
    ],
)
def test_a_choice_is_an_instance_of_its_option_and_returns_from_plain_values(given, wanted):
    chosen = build(Chooses, given, "config.model")
    assert chosen.positions == wanted
    assert build(Chooses, plain(chosen), "config.model") == chosen


@pytest.mark.parametrize(
    "given, message",
    [
        (3, "config.model.positions must be a name, or a section with one, of rotary, learned"),
        (
            {"name": 5},
            "config.model.positions must be a name, or a section with one, of rotary, learned",
        ),
        ("rotery", "config.model.positions: no option named 'rotery'; did you mean 'rotary'?"),
        (
            {"name": "learned", "base": 5},
            "config.model.positions.base is read with rotary, not with learned; leave it out",
        ),
        (
            {"name": "rotary", "bse": 5},
            "config.model.positions.bse does not exist; did you mean 'base'?",
        ),
        (
            {"name": "rotary", "base": 0},
            "config.model.positions.base must be at least 1.0, not 0.0",
        ),
    ],
)
def test_a_wrong_choice_is_one_line_that_names_the_key(given, message):
    with pytest.raises(UserError) as error:
        build(Chooses, {"positions": given}, "config.model")
    assert str(error.value) == message
