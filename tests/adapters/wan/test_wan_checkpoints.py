"""Every name of the released files finds its place, and every way files are wrapped is read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor

from adapters.wan.blocks import BlockCausalWan
from adapters.wan.checkpoints import infer_config, load_vae, load_wan, save_folder
from adapters.wan.names import bare, to_diffusers, to_original
from tests.adapters.wan.tiny_wan import HEIGHT, WIDTH, noise_of, random_vae, random_wan, text_of

Shapes = dict[str, tuple[int, ...]]
RELEASED = {"1.3B": (1536, 8960, 12, 30), "14B": (5120, 13824, 40, 40)}
PARAMETERS = {"1.3B": 1_418_996_800, "14B": 14_288_491_584}


def official_shapes(dim: int, ffn: int, layers: int) -> Shapes:
    """Names and shapes of the original text-to-video transformer, written down from its modules."""

    def linear(name: str, out: int, into: int) -> Shapes:
        return {f"{name}.weight": (out, into), f"{name}.bias": (out,)}

    shapes: Shapes = {
        "patch_embedding.weight": (dim, 16, 1, 2, 2),
        "patch_embedding.bias": (dim,),
        **linear("text_embedding.0", dim, 4096),
        **linear("text_embedding.2", dim, dim),
        **linear("time_embedding.0", dim, 256),
        **linear("time_embedding.2", dim, dim),
        **linear("time_projection.1", 6 * dim, dim),
        **linear("head.head", 64, dim),
        "head.modulation": (1, 2, dim),
    }
    for layer in range(layers):
        block = f"blocks.{layer}"
        shapes[f"{block}.modulation"] = (1, 6, dim)
        shapes |= {f"{block}.norm3.weight": (dim,), f"{block}.norm3.bias": (dim,)}
        shapes |= linear(f"{block}.ffn.0", ffn, dim) | linear(f"{block}.ffn.2", dim, ffn)
        for attention in ("self_attn", "cross_attn"):
            for part in "qkvo":
                shapes |= linear(f"{block}.{attention}.{part}", dim, dim)
            for part in ("norm_q", "norm_k"):
                shapes[f"{block}.{attention}.{part}.weight"] = (dim,)
    return shapes


@pytest.mark.parametrize("size", RELEASED)
def test_every_official_name_has_its_place(size: str) -> None:
    dim, ffn, heads, layers = RELEASED[size]
    shapes = official_shapes(dim, ffn, layers)
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    config = infer_config(weights)
    assert config["num_attention_heads"] == heads
    with torch.device("meta"):
        model = WanTransformer3DModel(**config)
    renamed = to_diffusers(weights)
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    assert {name: tuple(value.shape) for name, value in renamed.items()} == expected
    back = to_original(renamed)
    assert {name: tuple(value.shape) for name, value in back.items()} == shapes
    assert all(back[name] is value for name, value in weights.items())
    assert sum(value.numel() for value in weights.values()) == PARAMETERS[size]


def test_wrappers_of_training_programs_come_off() -> None:
    one = torch.zeros(1)
    assert set(bare({"model.head.head.weight": one, "model.blocks.0.modulation": one})) == {
        "head.head.weight",
        "blocks.0.modulation",
    }
    fsdp = "model._fsdp_wrapped_module.blocks.0._fsdp_wrapped_module._checkpoint_wrapped_module."
    assert set(bare({fsdp + "modulation": one})) == {"blocks.0.modulation"}
    assert set(bare({"model.diffusion_model.head.modulation": one})) == {"head.modulation"}
    # A prefix that only some names have is part of them.
    assert set(bare({"model.a": one, "b": one})) == {"model.a", "b"}


def _original(model: Any, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: value for name, value in to_original(model.state_dict()).items()}


def _self_forcing(model: Any, folder: Path) -> Path:
    file = folder / "self_forcing_dmd.pt"
    other = {name: value + 1 for name, value in _original(model, "model.").items()}
    torch.save({"generator": other, "generator_ema": _original(model, "model.")}, file)
    return file


def _causvid(model: Any, folder: Path) -> Path:
    file = folder / "model.pt"
    wrapped = _original(model, "model._fsdp_wrapped_module.")
    torch.save({"generator": wrapped, "critic": {"x": torch.zeros(1)}, "step": 3}, file)
    return file


def _krea(model: Any, folder: Path) -> Path:
    file = folder / "krea-realtime-video-14b.safetensors"
    save_file(_original(model, "model."), file)
    return file


def _wan(model: Any, folder: Path) -> Path:
    weights = list(_original(model).items())
    for shard in range(2):
        file = folder / f"diffusion_pytorch_model-0000{shard + 1}-of-00002.safetensors"
        save_file(dict(weights[shard::2]), file)
    settings = {"_class_name": "WanModel", "num_heads": 2, "eps": 1e-6, "dim": 32}
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def _diffusers(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def _pipeline(model: Any, folder: Path) -> Path:
    save_folder(model, folder / "transformer")
    return folder


@pytest.mark.parametrize(
    "write", [_self_forcing, _causvid, _krea, _wan, _diffusers, _pipeline], ids=lambda f: f.__name__
)
def test_files_of_every_origin_are_read(write: Callable[[Any, Path], Path], tmp_path: Path) -> None:
    model = random_wan()
    loaded = load_wan(write(model, tmp_path), heads=2)
    call = {
        "hidden_states": noise_of(3, 1),
        "timestep": torch.tensor([300.0, 20.0]),
        "encoder_hidden_states": text_of(),
        "return_dict": False,
    }
    assert torch.equal(loaded(**call)[0], model(**call)[0])
    assert not loaded.training
    assert not any(weight.requires_grad for weight in loaded.parameters())


def test_averaged_or_raw_weights(tmp_path: Path) -> None:
    model = random_wan()
    raw = load_wan(_self_forcing(model, tmp_path), heads=2, averaged=False)
    assert torch.equal(raw.proj_out.bias, model.proj_out.bias + 1)


def test_formats_on_disk_and_in_memory(tmp_path: Path) -> None:
    model = random_wan()
    save_folder(model, tmp_path, torch.bfloat16)
    assert model.proj_out.weight.dtype == torch.float32
    stored = load_wan(tmp_path)
    assert {weight.dtype for weight in stored.parameters()} == {torch.bfloat16}
    mixed = load_wan(tmp_path, dtype=torch.float16)
    exact = {name for name, value in mixed.state_dict().items() if value.dtype == torch.float32}
    parts = ("time_embedder.", "scale_shift_table", "norm2.")
    assert exact == {name for name in stored.state_dict() if any(part in name for part in parts)}
    assert {value.dtype for value in mixed.parameters()} == {torch.float16, torch.float32}
    wan = BlockCausalWan(load_wan(tmp_path, dtype=torch.bfloat16))
    context = wan.context(text_of(), HEIGHT, WIDTH, 6)
    wan.commit([noise_of(3, 1)], context)
    assert wan.denoise(noise_of(3, 2), 937.5, context).isfinite().all()
    assert context.cache.stored(0)[0].dtype == torch.bfloat16


def test_the_autoencoder_is_read_back(tmp_path: Path) -> None:
    vae = random_vae()
    save_folder(vae, tmp_path / "vae")
    loaded = load_vae(tmp_path)
    latents = torch.randn(1, 4, 2, 2, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded.decode(latents).sample, vae.decode(latents).sample)
    assert loaded.config.latents_mean == vae.config.latents_mean


def test_all_differences_are_named_at_once(tmp_path: Path) -> None:
    weights = _original(random_wan())
    del weights["blocks.1.self_attn.q.bias"]
    weights["blocks.0.strange.weight"] = torch.zeros(1)
    weights["head.head.bias"] = torch.zeros(7)
    save_file(weights, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="does not fit this model") as caught:
        load_wan(tmp_path / "w.safetensors", heads=2)
    for words in (
        "missing blocks.1.attn1.to_q.bias",
        "unexpected blocks.0.strange.weight",
        "proj_out.bias is (7,), not (16,)",
    ):
        assert words in str(caught.value)


def test_user_errors_say_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    weights = _original(random_wan())
    save_file(weights, file)
    with pytest.raises(ValueError, match="give heads"):
        load_wan(file)
    save_file(weights | {"img_emb.proj.0.weight": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="looks at a picture"):
        load_wan(file, heads=2)
    save_file({"head.head.weight": torch.zeros(4, 4)}, file)
    with pytest.raises(ValueError, match=r"no whole Wan transformer.*patch_embedding"):
        load_wan(file, heads=2)
    save_file({"layer.weight": torch.zeros(1)}, file)
    with pytest.raises(ValueError, match="holds no Wan transformer"):
        load_wan(file)
    with pytest.raises(ValueError, match="cannot be read safely"):
        load_wan(tmp_path / "missing.pt")
    torch.save({"generator": {"model.x": Path()}}, tmp_path / "unsafe.pt")
    with pytest.raises(ValueError, match="cannot be read safely"):
        load_wan(tmp_path / "unsafe.pt")
    torch.save({"generator": {"model.x": 3}}, tmp_path / "numbers.pt")
    with pytest.raises(ValueError, match="holds no named tensors"):
        load_wan(tmp_path / "numbers.pt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="give the file of the weights"):
        load_wan(tmp_path / "empty")
    save_folder(random_wan(), tmp_path / "new")
    config = tmp_path / "new" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"novelty": 1}))
    with pytest.raises(ValueError, match="novelty"):
        load_wan(tmp_path / "new")
