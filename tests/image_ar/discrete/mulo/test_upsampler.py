"""The learned up-sampler: it looks up, never down, and learns a simple picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from image_ar.discrete.mulo.scaling import LatentScaling, PixelScaling
from image_ar.discrete.mulo.storage import load, save
from image_ar.discrete.mulo.training import upsampler_loss, upsampler_scores
from image_ar.discrete.mulo.upsampler import Upsampler, UpsamplerConfig, start_from

SMALL = UpsamplerConfig(codes=6, ratio=2, dim=3, width=8, layers=1, high_width=6)


def codes(rows: int, columns: int, count: int = 6, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(count, (2, rows, columns), generator=generator)


def network(config: UpsamplerConfig = SMALL, seed: int = 0) -> Upsampler:
    torch.manual_seed(seed)
    return Upsampler(config).eval()


def test_the_size_that_fits_the_embedded_codebook() -> None:
    made = Upsampler(UpsamplerConfig(codes=512, dim=8))
    assert sum(parameter.numel() for parameter in made.parameters()) <= 250_000


@pytest.mark.parametrize("ratio", [2, 3])
def test_a_row_depends_on_nothing_below_it(ratio: int) -> None:
    made = network(UpsamplerConfig(6, ratio, 3, 8, 2, 6))
    low, high = codes(5, 3), codes(5 * ratio, 3 * ratio, seed=1)
    out = made(low, high)
    for row in range(5):
        other_low, other_high = low.clone(), high.clone()
        other_low[:, row + 1 :] += 1
        other_low %= 6
        other_high[:, row * ratio :] = (other_high[:, row * ratio :] + 1) % 6
        changed = made(other_low, other_high)
        until = (row + 1) * ratio
        assert torch.allclose(changed[:, :until], out[:, :until], atol=1e-6)


def test_it_reads_its_own_row_and_the_codes_above() -> None:
    made = network()
    low, high = codes(3, 4), codes(6, 8, seed=1)
    out = made(low, high)
    other = low.clone()
    other[:, 2, 1] = (other[:, 2, 1] + 1) % 6
    assert not torch.allclose(made(other, high)[:, 4:], out[:, 4:])
    above = high.clone()
    above[:, 3, 1] = (above[:, 3, 1] + 1) % 6
    changed = made(low, above)
    assert torch.equal(changed[:, :4], out[:, :4])
    assert not torch.allclose(changed[:, 4:], out[:, 4:])
    blind = network(UpsamplerConfig(6, 2, 3, 8, 1, 6, above=False))
    assert torch.equal(blind(low, high), blind(low, above))


@pytest.mark.parametrize(("layers", "ratio"), [(1, 2), (2, 2), (1, 3)])
def test_rows_out_of_reach_are_left_out(layers: int, ratio: int) -> None:
    made = network(UpsamplerConfig(6, ratio, 3, 8, layers, 6))
    low = codes(9, 2)
    scaling = LatentScaling(made)
    step_by_step = scaling.up(low, low.new_zeros(2, 0, 2 * ratio))
    assert step_by_step.shape == (2, 9 * ratio, 2 * ratio)
    # The same, fed its own rows, in one pass over everything.
    assert torch.equal(made(low, step_by_step).argmax(-1), step_by_step)
    given = 4 * ratio
    assert torch.equal(scaling.up(low, step_by_step[:, :given]), step_by_step[:, given:])


def test_it_learns_to_repeat_codes() -> None:
    made = network(seed=3).train()
    optimiser = torch.optim.AdamW(made.parameters(), lr=2e-2)
    for step in range(90):
        low = codes(3, 3, seed=step)
        high = low.repeat_interleave(2, 1).repeat_interleave(2, 2)
        loss = upsampler_loss(made, low, high)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    low = codes(3, 3, seed=1000)
    high = low.repeat_interleave(2, 1).repeat_interleave(2, 2)
    scores = upsampler_scores(made, low, high)
    assert scores["accuracy"] > 0.9
    assert scores["accuracy_detail"] > 0.85
    assert scores["probability"] > 0.7


def test_the_embedding_starts_as_the_codebook() -> None:
    made, rows = network(), torch.randn(6, 3)
    start_from(made, rows)
    assert torch.equal(made.embed.weight, rows)
    with pytest.raises(ValueError, match="sizes"):
        start_from(made, torch.randn(6, 4))


def test_saved_and_loaded(tmp_path: Path) -> None:
    made = network()
    save(made, tmp_path / "up", torch.float32)
    again = load(tmp_path / "up")
    assert again.config == SMALL
    low, high = codes(2, 2), codes(4, 4)
    assert torch.equal(again(low, high), made(low, high))
    with pytest.raises(ValueError, match="no up-sampler"):
        load(tmp_path / "missing")
    (tmp_path / "up" / "config.json").write_text('{"model_type": "image-upsampler", "codes": 7}')
    with pytest.raises(ValueError, match="does not fit"):
        load(tmp_path / "up")
    (tmp_path / "up" / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ValueError, match="another model"):
        load(tmp_path / "up")
    with pytest.raises(ValueError, match="above 0"):
        UpsamplerConfig(codes=0)


class Greys:
    """A codec of grey squares of 2 x 2 pixels: codes 0 to 8 are shades."""

    def decode(self, codes: torch.Tensor) -> torch.Tensor:
        grey = codes.float().unsqueeze(1) / 8
        return grey.repeat_interleave(2, 2).repeat_interleave(2, 3).expand(-1, 3, -1, -1)

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        means = torch.nn.functional.avg_pool2d(pixels, 2).mean(1)
        return (means * 8).round().long().clamp(0, 8)


@pytest.mark.parametrize("margin", [0, 1, 5])
@pytest.mark.parametrize("ratio", [2, 4])
def test_pixel_scaling_of_shades(ratio: int, margin: int) -> None:
    codec = Greys()
    scaling = PixelScaling(codec.decode, codec.encode, ratio, margin)
    low = torch.full((1, 5, 3), 4)
    high = torch.full((1, 3 * ratio, 3 * ratio), 4)
    new = scaling.up(low, high)
    assert new.shape == (1, 2 * ratio, 3 * ratio)
    assert bool((new == 4).all())
    assert scaling.up(low, high[:, :0]).shape == (1, 5 * ratio, 3 * ratio)
    down = scaling.down(high, 2)
    assert down.shape == (1, 2, 3)
    assert bool((down == 4).all())
    stripes = torch.tensor([0, 8]).repeat_interleave(ratio * 3).view(1, 2, 1, -1)
    stripes = stripes.view(1, 2, 3, ratio).flatten(2).repeat_interleave(ratio, 1)
    assert scaling.down(stripes, 2).tolist() == [[[0] * 3, [8] * 3]]


def test_pixel_scaling_sees_accepted_rows_above() -> None:
    codec = Greys()
    seen: list[torch.Tensor] = []

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        seen.append(pixels)
        return codec.encode(pixels)

    scaling = PixelScaling(codec.decode, encode, 2, margin=1)
    high = torch.arange(4).view(1, 4, 1).expand(1, 4, 4)
    scaling.up(torch.full((1, 3, 2), 8), high)
    rows = seen[0][0, 0, ::2, 0] * 8
    # The two accepted high rows next to the block as they are, then the block.
    assert rows.tolist() == [2, 3, 8, 8]
    for ratio, margin, said in ((1, 2, "ratio must be"), (2, -1, "margin must be")):
        with pytest.raises(ValueError, match=said):
            PixelScaling(codec.decode, codec.encode, ratio, margin)
