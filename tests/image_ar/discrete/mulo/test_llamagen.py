"""MuLo-SD on two random LlamaGen models that share a random tokenizer, with guidance."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from adapters.image_tokens.target import Defaults, ImageTokenTarget
from adapters.llamagen.config import GPTConfig
from adapters.llamagen.gpt import GPT
from adapters.llamagen.loading import assemble
from adapters.llamagen.prompting import ClassConditioner
from adapters.llamagen.vq import VQConfig, VQModel
from image_ar.discrete.building import build_mulo, build_mulo_rule
from image_ar.discrete.mulo.storage import save
from image_ar.discrete.mulo.upsampler import Upsampler, UpsamplerConfig
from mmspec.catalog import BuildContext
from mmspec.engine import Engine
from mmspec.messages import Plan
from mmspec.pacing import Fixed
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from mmspec.trace import Trace

CODES, CLASSES = 16, 5
SAMPLING = Sampling(max_new_tokens=36, temperature=1.0, top_k=12)


@pytest.fixture(scope="module")
def vq() -> VQModel:
    torch.manual_seed(0)
    return VQModel(
        VQConfig(
            codebook_size=CODES,
            codebook_embed_dim=4,
            ch=4,
            ch_mult=(1, 2),
            num_res_blocks=1,
            z_channels=8,
            num_groups=0,
            attention=False,
        )
    )


def model(side: int, vq: VQModel, seed: int, codes: int = CODES) -> ImageTokenTarget:
    sizes = {"dim": 16, "n_layer": 2, "n_head": 2, "multiple_of": 8, "block_size": side**2}
    gpt = GPT(GPTConfig(**sizes, vocab_size=codes, num_classes=CLASSES))
    gpt.reset_parameters(torch.Generator().manual_seed(seed), zero_output=False)
    with torch.no_grad():
        for parameter in gpt.parameters():
            if parameter.ndim == 2:
                parameter.mul_(12)
    return assemble(gpt, vq, ClassConditioner(CLASSES), defaults=Defaults(3.0))


@pytest.fixture(scope="module")
def pair(vq: VQModel) -> tuple[ImageTokenTarget, ImageTokenTarget]:
    return model(6, vq, 1), model(3, vq, 2)


def run(
    pair: tuple[ImageTokenTarget, ImageTokenTarget],
    rule: dict[str, Any] | None,
    scale: float = 3.0,
    interval: int = -1,
    **options: Any,
) -> tuple[list[list[int]], Trace]:
    target, low = pair
    engine = Engine(target)
    if rule is not None:
        context = BuildContext(target, low, None, options)
        made = build_mulo_rule(replace(context, options=rule))
        engine = Engine(target, build_mulo(context), made, Fixed(Plan(1)), 36, strict=True)
    inputs = target.prepare(class_ids=[0, 3, 4], guidance_scale=scale, cfg_interval=interval)
    return engine.generate(Request(inputs, SAMPLING), seeds=[1, 2, 3])


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize("interval", [-1, 10])
def test_refusing_everything_is_plain_decoding(
    pair: tuple[ImageTokenTarget, ImageTokenTarget], scale: float, interval: int
) -> None:
    plain, _ = run(pair, None, scale, interval)
    ours, trace = run(pair, {"tau": 1.1}, scale, interval)
    assert ours == plain
    assert not trace.notes


@pytest.mark.parametrize("rows", [1, 2, 3])
def test_all_combinations_run_to_the_end(
    pair: tuple[ImageTokenTarget, ImageTokenTarget], rows: int
) -> None:
    torch.manual_seed(0)
    network = Upsampler(UpsamplerConfig(CODES, 2, 4, 8, 1, 6))
    for upsampler in ("pixel", network):
        rule = {"tau": 0.2, "k": 3, "radius": 1, "order": "zipar", "window": 2}
        ours, trace = run(pair, rule, rows=rows, upsampler=upsampler)
        assert [len(row) for row in ours] == [36] * 3
        assert not trace.notes
        assert trace.metrics.target_forwards < 36
        origins = {unit.origin for row in trace.units for unit in row}
        assert origins >= {"accepted", "regenerated"}


def test_parts_that_do_not_fit_are_refused(
    pair: tuple[ImageTokenTarget, ImageTokenTarget], vq: VQModel, tmp_path: Path
) -> None:
    target, low = pair
    other = UpsamplerConfig(CODES, 3, 4, 8, 1, 6)
    save(Upsampler(other), tmp_path)
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (model(4, vq, 3), {}, "times"),
        (low, {"upsampler": str(tmp_path)}, "ratio of 3"),
        (low, {"rows": 4}, "between 1 and 3"),
        (object(), {}, "grids"),
        ("some/folder", {}, "load"),
    ]
    for drafter, options, said in cases:
        with pytest.raises(ValueError, match=said):
            build_mulo(BuildContext(target, drafter, None, options))


def test_the_low_model_names_its_upsampler(
    pair: tuple[ImageTokenTarget, ImageTokenTarget], tmp_path: Path
) -> None:
    target, low = pair
    folder = tmp_path / "low"
    folder.mkdir()
    (folder / "config.json").write_text('{"upsampler": "../up"}')
    context = BuildContext(target, folder, lambda name: low)
    with pytest.raises(ValueError, match="no up-sampler"):
        build_mulo(context)
    save(Upsampler(UpsamplerConfig(CODES, 2, 4, 8, 1, 6)), tmp_path / "up")
    assert build_mulo(context).name == "mulo"
    (folder / "config.json").write_text("{}")
    assert build_mulo(context).name == "mulo"
