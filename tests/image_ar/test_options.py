"""Options of the image methods: refused before there is a target, as their classes refuse them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from image_ar.discrete.grid import Grid
from mmspec import catalog
from mmspec.catalog import BuildContext
from mmspec.cli import main
from mmspec.options import Builder, check_values, flag, one_of, optional, real, whole

NAN = float("nan")
CHECKS = {
    "share": real(0.0, 1.0),
    "weight": real(1.0),
    "count": whole(1, 3),
    "many": whole(0),
    "kind": one_of(("a", "b")),
    "on": flag(),
    "maybe": optional(whole(0)),
}
GOOD: dict[str, list[Any]] = {
    "share": [0, 1.0, 0.5],
    "weight": [1, 1e9],
    "count": [1, 3],
    "many": [0, 10**9],
    "kind": ["a", "b"],
    "on": [True, False],
    "maybe": [None, 0],
    "unheard of": [object()],
}
BAD: dict[str, list[Any]] = {
    "share": [-0.1, 1.1, NAN, True, "0.5", None],
    "weight": [0.9, float("inf"), NAN],
    "count": [0, 4, 2.0, True, "2"],
    "many": [-1, None],
    "kind": ["c", "", None, 1],
    "on": [0, 1, "yes", None],
    "maybe": [-1, "none"],
}
# Of every method: an option, a wrong value, a part of the message.
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("sjd", {"initialise": "right"}, "initialise must be one of random, left, above, left_law"),
    ("scd", {"redraw": "never"}, "redraw must be one of independent, maximal, gumbel"),
    ("gsd", {"group_size": 2.5}, "group_size must be a whole number, got 2.5"),
    ("gsd", {"group_size": 0}, "group_size must be at least 1, got 0"),
    ("gsd", {"p_tol": "wide"}, "p_tol must be finite and at least 0.0, got 'wide'"),
    ("gsd", {"mode": "both"}, "mode must be one of window, partition, official"),
    ("gsd", {"mode": "partition", "distance_tol": 1.0}, "a mode other than 'partition'"),
    ("gsd", {"residual": "cluster"}, "residual in mode 'window' must be one of optimal, plain"),
    ("gsd", {"redraw": "never"}, "redraw must be"),
    ("image-eagle", {"tree": "oak"}, "tree must be one of mc_sim_7b_63"),
    ("lantern", {"delta": 3}, "delta must be between 0.0 and 1.0, got 3"),
    ("lantern", {"k": -1}, "k must be at least 0"),
    ("lantern", {"normalize": "yes"}, "normalize must be true or false, got 'yes'"),
    ("lantern", {"neighbours": 7}, "neighbours must be a path or a neighbour table"),
    ("lantern", {"residual": "cluster"}, "residual must be one of optimal, plain, mass_moved"),
    ("lantern", {"track_bias": 1}, "track_bias must be true or false"),
    ("lantern-plus", {"multiplier": 0.5}, "multiplier must be finite and at least 1.0"),
    ("cool", {"delta": 0.5}, "delta must be finite and at least 1.0"),
    ("cool", {"nu": -1}, "nu must be"),
    ("cool", {"residual": "mass_moved"}, "residual must be one of optimal, plain, got"),
    ("mulo", {"tau": NAN}, "tau must be"),
    ("mulo", {"order": "spiral"}, "order must be one of raster, zipar"),
    ("mulo", {"rows": 0}, "rows must be at least 1"),
    ("mulo", {"margin": -1}, "margin must be at least 0"),
    ("mulo", {"upsampler": 3}, "upsampler must be a path or an up-sampler"),
]
RIGHT: list[tuple[str, dict[str, Any]]] = [
    ("sjd", {"initialise": "above"}),
    ("scd", {"redraw": "gumbel", "initialise": "left_law"}),
    ("gsd", {"mode": "partition", "residual": "cluster", "group_size": 4}),
    ("gsd", {"distance_tol": 2, "p_tol": 0, "mode": "official"}),
    ("image-eagle", {"tree": "naive_extend_57"}),
    ("lantern", {"delta": 0, "k": 4, "normalize": False, "residual": "official_dynamic"}),
    ("lantern-plus", {"multiplier": 1, "k": 4, "residual": "official_static"}),
    ("cool", {"delta": 1.5, "nu": 0, "mu": 0.5, "track_bias": False}),
    ("mulo", {"tau": 2, "k": 3, "order": "zipar", "upsampler": "pixel", "margin": 0, "rows": 2}),
]
PLACE = SimpleNamespace(codebook=torch.eye(16), codebook_normalized=True, grid=Grid(4, 4))


@pytest.mark.parametrize("name", GOOD)
def test_good_values_pass(name: str) -> None:
    for value in GOOD[name]:
        check_values(CHECKS, {name: value})


@pytest.mark.parametrize("name", BAD)
def test_bad_values_are_named(name: str) -> None:
    for value in BAD[name]:
        with pytest.raises(ValueError, match=rf"^{name} must be .*, got "):
            check_values(CHECKS, {name: value})


@pytest.mark.parametrize(("method", "options", "said"), WRONG)
def test_wrong_options_need_no_target(method: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        catalog.get(method, "image").check_options(options)


@pytest.mark.parametrize(("method", "options"), RIGHT)
def test_what_passes_the_check_makes_a_rule(method: str, options: dict[str, Any]) -> None:
    row = catalog.get(method, "image")
    row.check_options(options)
    assert row.make_rule(BuildContext(PLACE, options=options)).certificate  # type: ignore[arg-type]


@pytest.mark.parametrize("row", catalog.methods("image"), ids=lambda row: row.name)
def test_every_option_of_the_catalog_has_a_check(row: catalog.Method) -> None:
    for path, names in ((row.build, row.options), (row.rule, row.rule_options)):
        if names:
            builder = catalog.resolve(path)
            assert isinstance(builder, Builder)
            assert set(builder._checks) == set(names)
            assert builder.__doc__


@pytest.mark.parametrize("word", ["delta=3", "delta=much", "k=1.5", "neighbours=7"])
def test_the_command_refuses_before_it_loads(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(catalog, "IMAGE_LOADER", "no.such:loader")
    status = main(["image", "a red circle", "--method", "lantern", "--option", word])
    assert status == 2
    assert f"{word.partition('=')[0]} must be" in capsys.readouterr().err
