"""Image tokenizer of LlamaGen: pixels to a grid of codes and back.

Sun et al., "Autoregressive Model Beats Diffusion: Llama for Scalable Image Generation"
(arXiv 2406.06525), after the VQGAN of Esser et al. (arXiv 2012.09841). Module names are those of
the official checkpoints. With other numbers it is the tokenizer of Chameleon (arXiv 2405.09818).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .quantizer import Quantized, VectorQuantizer
from .vq_blocks import AttnBlock, Downsample, Padding, ResBlock, Style, Upsample


@dataclass(frozen=True)
class VQConfig:
    """Shape of a tokenizer.

    Attributes:
        codebook_size: Number of codes.
        codebook_embed_dim: Numbers per code.
        ch: Channels at full resolution are `ch * ch_mult[0]`.
        ch_mult: One entry per resolution; each but the last halves height and width.
        num_res_blocks: Residual blocks per resolution; the decoder has one more.
        z_channels: Channels between the networks and the codes.
        l2_norm: Whether latents and codes are compared, and decoded, at length one.
        num_groups: Groups of the group norms; 0 normalises each pixel by itself.
        attention: Whether there is attention in the middle of encoder and decoder.
        level_attention: Whether, given `attention`, blocks of the lowest resolution have it too.
        local_encoder: Whether the encoder's residual blocks look at single pixels, so that a code
            depends on little more than the pixels it stands for.
        padding: What the encoder sees beyond the border. With ``"replicate"``, no attention,
            `num_groups` 0 and `local_encoder`, a flat area has one code wherever it lies.
    """

    codebook_size: int = 16384
    codebook_embed_dim: int = 8
    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 1, 2, 2, 4)
    num_res_blocks: int = 2
    z_channels: int = 256
    l2_norm: bool = True
    num_groups: int = 32
    attention: bool = True
    level_attention: bool = True
    local_encoder: bool = False
    padding: Padding = "zeros"

    def __post_init__(self) -> None:
        if self.padding not in ("zeros", "replicate"):
            raise ValueError(f"padding must be 'zeros' or 'replicate', got {self.padding!r}")
        widths = {self.ch * multiple for multiple in (1, *self.ch_mult)}
        odd = sorted(width for width in widths if self.num_groups and width % self.num_groups)
        if odd:
            raise ValueError(
                f"num_groups={self.num_groups} must divide every channel count, but not {odd}; "
                "choose another ch, ch_mult or num_groups, or num_groups=0"
            )

    @property
    def downsampling(self) -> int:
        """Pixels a code stands for in each direction."""
        return 1 << (len(self.ch_mult) - 1)

    @property
    def encoder_style(self) -> Style:
        """Style of the encoder's blocks."""
        return Style(self.num_groups, 1 if self.local_encoder else 3, self.padding)

    @property
    def decoder_style(self) -> Style:
        """Style of the decoder's blocks."""
        return Style(self.num_groups)


VQ_16 = VQConfig()
VQ_8 = VQConfig(ch_mult=(1, 2, 2, 4))
CHAMELEON_VQ = VQConfig(
    codebook_size=8192, codebook_embed_dim=256, l2_norm=False, level_attention=False
)
VQ_CONFIGS = {"VQ-16": VQ_16, "VQ-8": VQ_8, "Chameleon": CHAMELEON_VQ}


class Level(nn.Module):
    """Blocks of one resolution, with the change to the next one where there is one."""

    downsample: Downsample | None
    upsample: Upsample | None

    def __init__(self, inputs: int, outputs: int, blocks: int, style: Style, attends: bool) -> None:
        super().__init__()
        widths = [inputs, *[outputs] * blocks]
        self.res = nn.ModuleList(ResBlock(a, b, style) for a, b in pairwise(widths))
        self.attn = nn.ModuleList(AttnBlock(outputs, style) for _ in range(blocks * attends))
        self.downsample = self.upsample = None

    def forward(self, x: Tensor) -> Tensor:
        """Run the residual blocks, each followed by its attention if it has one."""
        for index, block in enumerate(self.res):
            x = block(x)
            if len(self.attn):
                x = self.attn[index](x)
        if self.downsample is not None:
            x = self.downsample(x)
        if self.upsample is not None:
            x = self.upsample(x)
        return x


def _middle(width: int, style: Style, attends: bool) -> nn.ModuleList:
    attention: nn.Module = AttnBlock(width, style) if attends else nn.Identity()
    return nn.ModuleList([ResBlock(width, width, style), attention, ResBlock(width, width, style)])


class Encoder(nn.Module):
    """Pixels `(batch, 3, H, W)` to `(batch, z_channels, H/f, W/f)`."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        style, last = config.encoder_style, len(config.ch_mult) - 1
        self.conv_in = style.conv(3, config.ch, kernel=3)
        self.conv_blocks = nn.ModuleList()
        width = config.ch
        for index, multiple in enumerate(config.ch_mult):
            attends = config.attention and config.level_attention and index == last
            level = Level(width, config.ch * multiple, config.num_res_blocks, style, attends)
            width = config.ch * multiple
            if index != last:
                level.downsample = Downsample(width, style)
            self.conv_blocks.append(level)
        self.mid = _middle(width, style, config.attention)
        self.norm_out = style.norm(width)
        self.conv_out = style.conv(width, config.z_channels)

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode pixels in [-1, 1]."""
        x = self.conv_in(pixels)
        for block in (*self.conv_blocks, *self.mid):
            x = block(x)
        latents: Tensor = self.conv_out(functional.silu(self.norm_out(x)))
        return latents


class Decoder(nn.Module):
    """`(batch, z_channels, h, w)` to pixels `(batch, 3, f h, f w)`; level 0 is the smallest."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        style, last = config.decoder_style, len(config.ch_mult) - 1
        width = config.ch * config.ch_mult[-1]
        self.conv_in = style.conv(config.z_channels, width)
        self.mid = _middle(width, style, config.attention)
        self.conv_blocks = nn.ModuleList()
        for index, multiple in enumerate(reversed(config.ch_mult)):
            attends = config.attention and config.level_attention and index == 0
            level = Level(width, config.ch * multiple, config.num_res_blocks + 1, style, attends)
            width = config.ch * multiple
            if index != last:
                level.upsample = Upsample(width, style)
            self.conv_blocks.append(level)
        self.norm_out = style.norm(width)
        self.conv_out = style.conv(width, 3)

    def forward(self, latents: Tensor) -> Tensor:
        """Decode latents; pixels are meant to lie in [-1, 1] but are not clipped."""
        x = self.conv_in(latents)
        for block in (*self.mid, *self.conv_blocks):
            x = block(x)
        pixels: Tensor = self.conv_out(functional.silu(self.norm_out(x)))
        return pixels


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """Outcome of a training pass: pixels `(batch, 3, H, W)` and what the quantiser did."""

    pixels: Tensor
    quantized: Quantized

    def usage(self, codebook_size: int) -> Tensor:
        """How often each code was used, `(codebook_size,)`."""
        return torch.bincount(self.quantized.codes.flatten(), minlength=codebook_size)


class VQModel(nn.Module):
    """Encoder, quantiser and decoder."""

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        dim = config.codebook_embed_dim
        self.quantize = VectorQuantizer(config.codebook_size, dim, l2_norm=config.l2_norm)
        self.quant_conv = nn.Conv2d(config.z_channels, dim, 1)
        self.post_quant_conv = nn.Conv2d(dim, config.z_channels, 1)

    @property
    def codebook(self) -> Tensor:
        """Rows that are decoded, `(codebook_size, codebook_embed_dim)`; no gradient."""
        return self.quantize.rows().detach()

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.quantize.embedding.weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights."""
        return self.quantize.embedding.weight.dtype

    def latents(self, pixels: Tensor) -> Tensor:
        """Latents `(batch, dim, H/f, W/f)` before quantisation.

        Raises:
            ValueError: If height or width is no multiple of the downsampling.
        """
        factor = self.config.downsampling
        if pixels.ndim != 4 or any(side % factor for side in pixels.shape[-2:]):
            raise ValueError(
                f"pixels must be (batch, 3, height, width) with sides that are multiples of "
                f"{factor}, got {tuple(pixels.shape)}; resize the pictures"
            )
        latents: Tensor = self.quant_conv(self.encoder(pixels))
        return latents

    @torch.no_grad()
    def encode(self, pixels: Tensor, chunk: int | None = None) -> Tensor:
        """Codes `(batch, H/f, W/f)` of pixels `(batch, 3, H, W)` in [-1, 1].

        Args:
            pixels: Pictures, on any device and in any float type.
            chunk: Pictures encoded at once, all by default; changes memory, not the result.
        """
        pieces = pixels.split(chunk or max(1, len(pixels)))
        moved = (piece.to(self.device, self.dtype) for piece in pieces)
        return torch.cat([self.quantize.encode(self.latents(piece)) for piece in moved])

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Pixels `(batch, 3, f h, f w)`, about [-1, 1], of codes `(batch, h, w)`."""
        return self.decode_latents(self.quantize.lookup(codes.to(self.device)))

    def decode_latents(self, latents: Tensor) -> Tensor:
        """Pixels of quantised latents `(batch, dim, h, w)`."""
        pixels: Tensor = self.decoder(self.post_quant_conv(latents.to(self.dtype)))
        return pixels

    def forward(self, pixels: Tensor) -> Reconstruction:
        """Reconstruct pixels in [-1, 1] for training, straight through the rounding."""
        quantized = self.quantize(self.latents(pixels))
        return Reconstruction(self.decode_latents(quantized.latents), quantized)


def parameter_millions(config: VQConfig) -> float:
    """Parameters of a configuration in millions, without allocating them."""
    with torch.device("meta"):
        model = VQModel(config)
    return math.fsum(parameter.numel() for parameter in model.parameters()) / 1e6
