"""Sizes: the released ones, what is refused, and what weights tell of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from adapters.mar.causal import CausalMAR
from adapters.mar.config import CAUSAL, MASKED, SIZES, MARConfig, infer_config
from adapters.mar.mar import MAR
from tests.adapters.mar.tiny_mar import COLUMNS, ROWS, VARIANTS, config_of, random_model

# Millions of parameters, of which in the head, and tensors of a state dict.
RELEASED = {
    "base": (207.9, 35.7, 364),
    "large": (478.3, 72.2, 476),
    "huge": (942.4, 151.2, 604),
}


@pytest.mark.parametrize("name", SIZES)
def test_released_sizes(name: str) -> None:
    config = MARConfig.named(name)
    with torch.device("meta"):
        model = MAR(config)
    millions, of_head, tensors = RELEASED[name]
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(
        millions, abs=0.05
    )
    assert sum(weight.numel() for weight in model.head.parameters()) / 1e6 == pytest.approx(
        of_head, abs=0.051
    )
    assert len(model.state_dict()) == tensors
    assert infer_config(model.state_dict()) == config
    assert (config.cells, config.token_width, config.buffer) == (256, 16, 64)


@pytest.mark.parametrize("name", SIZES)
def test_causal_counterparts_have_about_as_many_parameters(name: str) -> None:
    config = MARConfig.named(name, CAUSAL)
    with torch.device("meta"):
        model = CausalMAR(config)
    assert config.decoder_depth == 2 * SIZES[name]["depth"]
    assert sum(weight.numel() for weight in model.parameters()) / 1e6 == pytest.approx(
        RELEASED[name][0], rel=0.005
    )
    assert infer_config(model.state_dict()) == config


@pytest.mark.parametrize("variant", VARIANTS)
def test_dictionaries_and_weights_give_the_config_back(variant: str) -> None:
    config = config_of(variant, channels=3, patch=2, mlp_ratio=2.0, buffer=7)
    assert MARConfig.from_dict(config.to_dict()) == config
    assert config.token_width == 12
    weights = random_model(config).state_dict()
    found = infer_config(weights, heads=1, grid=(ROWS, COLUMNS), patch=2)
    heads = {"decoder_heads": 1, "encoder_heads": 1 if variant == MASKED else 0}
    assert found == MARConfig(**{**config.to_dict(), **heads})


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_weights_do_not_tell_is_asked_for(variant: str) -> None:
    weights = random_model(config_of(variant)).state_dict()
    with pytest.raises(ValueError, match="12 tokens a picture, not 3 x 3; give grid"):
        infer_config(weights, heads=1)
    with pytest.raises(ValueError, match="which is no released one; give heads"):
        infer_config(weights, grid=(ROWS, COLUMNS))
    with pytest.raises(ValueError, match="tokens of 4 numbers, which patch=3"):
        infer_config(weights, grid=(ROWS, COLUMNS), heads=1, patch=3)
    with pytest.raises(ValueError, match=r"here is no MAR model: it has no 'z_proj\.weight'"):
        infer_config({}, source="here")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "both"}, "variant must be 'masked' or 'causal', got 'both'"),
        ({"decoder_heads": 5}, "decoder_width must be a multiple of decoder_heads, got 24 and 5"),
        ({"encoder_heads": 3}, "encoder_width must be a multiple of encoder_heads"),
        ({"encoder_depth": 0}, "encoder_depth must be positive, got 0"),
        ({"buffer": 0}, "buffer must be positive, got 0"),
        ({"norm_eps": float("nan")}, "norm_eps must be positive, got nan"),
        ({"label_drop": 1.0}, "label_drop must be at least 0 and below 1, got 1.0"),
        ({"dropout": -0.1}, "dropout must be at least 0 and below 1"),
        ({"variant": CAUSAL}, "a causal model has no encoder: set its sizes to 0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MARConfig(**{**config_of(MASKED).to_dict(), **change})


def test_names_and_fields_are_checked() -> None:
    with pytest.raises(ValueError, match="no size is named 'tiny'; there are base, large, huge"):
        MARConfig.named("tiny")
    with pytest.raises(ValueError, match=r"unknown fields \['depth'\]"):
        MARConfig.from_dict({**config_of(MASKED).to_dict(), "depth": 3})
    with pytest.raises(ValueError, match=r"needs \['decoder_depth', 'decoder_heads'"):
        MARConfig.from_dict({"decoder_width": 8})


def test_a_network_takes_configs_of_its_variant_only() -> None:
    with pytest.raises(ValueError, match="MAR is the masked variant, got a config of 'causal'"):
        MAR(config_of(CAUSAL))
    with pytest.raises(ValueError, match="CausalMAR is the causal variant, got one of 'masked'"):
        CausalMAR(config_of(MASKED))


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_norm_has_the_same_constant(variant: str) -> None:
    """MAR's networks differ from torch's 1e-5 by less than random weights show."""
    for eps in (1e-6, 1e-3):
        model = random_model(config_of(variant, norm_eps=eps))
        found = [part.eps for part in model.modules() if isinstance(part, torch.nn.LayerNorm)]
        assert found == [eps] * len(found)
        assert len(found) == (9 if variant == CAUSAL else 14)
