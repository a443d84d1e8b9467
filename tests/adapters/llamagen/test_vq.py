from __future__ import annotations

import pytest
import torch

from adapters.llamagen.vq import CHAMELEON_VQ, VQ_8, VQ_16, VQConfig, VQModel, parameter_millions

TINY = VQConfig(
    codebook_size=32, codebook_embed_dim=4, ch=8, ch_mult=(1, 2), z_channels=16, num_groups=4
)


def build(config: VQConfig = TINY, seed: int = 0) -> VQModel:
    torch.manual_seed(seed)
    return VQModel(config).eval()


def convolution(name: str) -> set[str]:
    return {f"{name}.weight", f"{name}.bias"}


def res_block(name: str, *, shortcut: bool = False) -> set[str]:
    parts = ["norm1", "conv1", "norm2", "conv2", *["nin_shortcut"] * shortcut]
    return {key for part in parts for key in convolution(f"{name}.{part}")}


def attention(name: str) -> set[str]:
    parts = ("norm", "q", "k", "v", "proj_out")
    return {key for part in parts for key in convolution(f"{name}.{part}")}


def half(name: str) -> set[str]:
    ends = set().union(*(convolution(f"{name}.{part}") for part in ("conv_in", "norm_out")))
    middle = res_block(f"{name}.mid.0") | attention(f"{name}.mid.1") | res_block(f"{name}.mid.2")
    return ends | convolution(f"{name}.conv_out") | middle


def official_names_of_vq_16() -> set[str]:
    names = {"quantize.embedding.weight"} | convolution("quant_conv")
    names |= convolution("post_quant_conv") | half("encoder") | half("decoder")
    widens = {2: True, 4: True}  # 128 to 256 and 256 to 512 channels
    for level in range(5):
        prefix = f"encoder.conv_blocks.{level}"
        for index in range(2):
            widened = index == 0 and widens.get(level, False)
            names |= res_block(f"{prefix}.res.{index}", shortcut=widened)
            names |= attention(f"{prefix}.attn.{index}") if level == 4 else set()
        names |= convolution(f"{prefix}.downsample.conv") if level < 4 else set()
    narrows = {1: True, 3: True}  # 512 to 256 and 256 to 128 channels
    for level in range(5):
        prefix = f"decoder.conv_blocks.{level}"
        for index in range(3):
            narrowed = index == 0 and narrows.get(level, False)
            names |= res_block(f"{prefix}.res.{index}", shortcut=narrowed)
            names |= attention(f"{prefix}.attn.{index}") if level == 0 else set()
        names |= convolution(f"{prefix}.upsample.conv") if level < 4 else set()
    return names


def test_weights_of_vq_16_have_the_official_names() -> None:
    with torch.device("meta"):
        state = VQModel(VQ_16).state_dict()
    assert set(state) == official_names_of_vq_16()
    assert len(state) == 343  # 344 in official files, which also count the use of codes
    assert state["quantize.embedding.weight"].shape == (16384, 8)
    assert state["encoder.conv_blocks.4.res.0.nin_shortcut.weight"].shape == (512, 256, 1, 1)
    assert state["decoder.conv_blocks.3.res.0.nin_shortcut.weight"].shape == (128, 256, 1, 1)


@pytest.mark.parametrize(("config", "millions"), [(VQ_16, 71.88), (VQ_8, 70.11)])
def test_official_parameter_counts(config: VQConfig, millions: float) -> None:
    assert parameter_millions(config) == pytest.approx(millions, abs=0.005)


def test_chameleon_attends_in_the_middle_only() -> None:
    with torch.device("meta"):
        state = VQModel(CHAMELEON_VQ).state_dict()
    assert state["quantize.embedding.weight"].shape == (8192, 256)
    assert "decoder.mid.1.q.weight" in state
    assert not [name for name in state if "conv_blocks" in name and ".attn." in name]


def test_round_trip_has_the_shape_of_the_pixels() -> None:
    model = build()
    pixels = torch.rand(3, 3, 8, 12) * 2 - 1
    codes = model.encode(pixels)
    assert codes.shape == (3, 4, 6)
    assert codes.dtype == torch.long
    assert model.decode(codes).shape == pixels.shape
    assert torch.equal(codes, model.encode(pixels, chunk=2))


def test_decode_depends_on_normalised_rows_alone() -> None:
    model, codes = build(), torch.arange(32).view(2, 4, 4)
    before = model.decode(codes)
    lengths = torch.linspace(0.1, 9, 32)[:, None]
    model.quantize.embedding.weight.data.mul_(lengths)
    torch.testing.assert_close(model.decode(codes), before)
    torch.testing.assert_close(model.codebook.norm(dim=-1), torch.ones(32))


def test_decode_depends_on_lengths_without_normalisation() -> None:
    model = build(VQConfig(**{**vars(TINY), "l2_norm": False}))
    codes = torch.arange(32).view(2, 4, 4)
    before = model.decode(codes)
    model.quantize.embedding.weight.data.mul_(50)
    assert not torch.allclose(model.decode(codes), before)
    assert torch.equal(model.codebook, model.quantize.embedding.weight)


def test_gradients_pass_the_rounding() -> None:
    model = build().train()
    outcome = model(torch.rand(2, 3, 8, 8))
    outcome.pixels.square().mean().backward(retain_graph=True)
    assert model.encoder.conv_in.weight.grad is not None
    assert model.encoder.conv_in.weight.grad.abs().sum() > 0
    assert model.quantize.embedding.weight.grad is None
    outcome.quantized.codebook_loss.backward()
    assert model.quantize.embedding.weight.grad is not None
    assert int(outcome.usage(32).sum()) == 2 * 4 * 4


def test_local_encoder_gives_a_flat_area_one_code() -> None:
    shape = {"num_groups": 0, "attention": False, "local_encoder": True, "padding": "replicate"}
    model = build(VQConfig(**{**vars(TINY), **shape}))
    pixels = torch.ones(1, 3, 16, 16) * 0.3
    assert len(model.encode(pixels).unique()) == 1
    far = model.latents(pixels)[..., :4, :4]
    pixels[..., 12:, 12:] = -1
    assert torch.equal(model.latents(pixels)[..., :4, :4], far)


def test_pictures_of_a_wrong_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"multiples of 2, got \(1, 3, 7, 8\)"):
        build().encode(torch.zeros(1, 3, 7, 8))


def test_groups_must_divide_the_channels() -> None:
    with pytest.raises(ValueError, match=r"num_groups=32 must divide .* \[48\]"):
        VQConfig(ch=48, ch_mult=(1, 2), num_groups=32)


def test_unknown_padding_is_refused() -> None:
    with pytest.raises(ValueError, match="'zeros' or 'replicate', got 'mirror'"):
        VQConfig(padding="mirror")  # type: ignore[arg-type]
