"""Shape of the embedded image tokenizer, and what it needs besides gradients to learn its codes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adapters.llamagen.vq import Reconstruction, VQConfig, VQModel

# 64 x 64 pixels to 16 x 16 codes. The encoder looks at nine pixels in each direction and repeats
# the border, so the same drawing gets the same codes in every cell, and a background one code.
VQ_SHAPE = VQConfig(
    codebook_size=512,
    codebook_embed_dim=8,
    ch=16,
    ch_mult=(1, 2, 4),
    num_res_blocks=1,
    z_channels=64,
    num_groups=0,
    attention=False,
    local_encoder=True,
    padding="replicate",
)
# Training starts without rounding; then the codebook is laid over the latents.
FIRST_CODES = 200
RESTART_EVERY = 50
_LLOYD_ROUNDS = 10
# Size of a residual branch at the start.
_BRANCH = 0.5
# A code that takes less than this share of its even part of the latents is moved.
_DEAD_SHARE = 0.03


class VQTrainee(nn.Module):
    """A tokenizer and the use of its codes since the last restart, kept in its checkpoint."""

    uses: Tensor

    def __init__(self, config: VQConfig = VQ_SHAPE) -> None:
        super().__init__()
        self.model = VQModel(config).to(memory_format=torch.channels_last)
        _start(self.model)
        self.register_buffer("uses", torch.zeros(config.codebook_size, dtype=torch.long))

    def forward(self, pixels: Tensor, *, rounded: bool) -> Reconstruction | Tensor:
        """Reconstruct pixels; without rounding, return the pixels alone."""
        if rounded:
            outcome: Reconstruction = self.model(pixels)
            self.uses += outcome.usage(self.model.config.codebook_size)
            return outcome
        latents = self.model.latents(pixels)
        vectors = self.model.quantize.scaled(latents.permute(0, 2, 3, 1))
        return self.model.decode_latents(vectors.permute(0, 3, 1, 2))

    @torch.no_grad()
    def first_codes(self, pixels: Tensor, generator: torch.Generator) -> None:
        """Lay the codebook over the latents of some pixels and forget past use."""
        rows = spread_codes(self._vectors(pixels), len(self.uses), generator)
        self.model.quantize.embedding.weight.copy_(rows)
        self.uses.zero_()

    @torch.no_grad()
    def restart_dead(self, pixels: Tensor, generator: torch.Generator) -> int:
        """Move codes of little use to latents that are served badly; forget past use.

        Returns:
            How many codes were moved.
        """
        floor = _DEAD_SHARE * float(self.uses.sum()) / len(self.uses)
        dead = (self.uses < floor).nonzero().flatten()
        vectors = self._vectors(pixels)
        rows = self.model.quantize.rows()
        distance = (vectors - rows[self.model.quantize.nearest(vectors)]).square().sum(dim=-1)
        dead = dead[: int((distance > 0).sum())]
        if len(dead):
            chosen = torch.multinomial(distance, len(dead), generator=generator)
            self.model.quantize.embedding.weight[dead] = vectors[chosen]
        self.uses.zero_()
        return len(dead)

    def _vectors(self, pixels: Tensor) -> Tensor:
        """Latents of pixels as they are compared with codes, `(n, dim)`."""
        latents = self.model.latents(pixels).permute(0, 2, 3, 1).flatten(0, 2)
        return self.model.quantize.scaled(latents)


def _start(model: VQModel) -> None:
    """Let signals keep their size through every layer: PyTorch's start loses most of a picture."""
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
            nn.init.zeros_(layer.bias)
            if name.endswith("conv2"):
                layer.weight.data.mul_(_BRANCH)


def spread_codes(vectors: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose `count` rows by k-means, seeded by k-means++; `vectors` `(n, dim)` have length one.

    Repeated vectors count once: a background covers half of the pictures but needs one code.

    Raises:
        ValueError: There are fewer different vectors than rows wanted.
    """
    vectors = torch.unique((vectors * 1e3).round(), dim=0) / 1e3
    if len(vectors) < count:
        raise ValueError(f"{len(vectors)} different vectors cannot seed {count} codes")
    first = int(torch.randint(len(vectors), (1,), generator=generator))
    chosen = [first]
    distance = (vectors - vectors[first]).square().sum(dim=-1)
    for _ in range(count - 1):
        chosen.append(int(torch.multinomial(distance, 1, generator=generator)))
        fresh = (vectors - vectors[chosen[-1]]).square().sum(dim=-1)
        distance = torch.minimum(distance, fresh)
    rows = vectors[chosen]
    for _ in range(_LLOYD_ROUNDS):
        owner = (vectors @ rows.T - rows.square().sum(dim=-1) / 2).argmax(dim=-1)
        sums = torch.zeros_like(rows).index_add_(0, owner, vectors)
        sizes = torch.bincount(owner, minlength=count)[:, None]
        rows = torch.where(sizes > 0, sums / sizes.clamp(min=1), rows)
    return rows
