"""Vector quantiser of the image tokenizer: the nearest code of each latent."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

# Similarities held at once: 256 MB in float32.
_CHUNK_ENTRIES = 1 << 26


@dataclass(frozen=True, slots=True)
class Quantized:
    """Outcome of quantising latents in training.

    Attributes:
        latents: `(batch, dim, height, width)`, the codes' rows; gradients pass to the encoder as if
            nothing had been rounded.
        codes: `(batch, height, width)` long.
        codebook_loss: Scalar, mean squared distance that moves the codes to the latents.
        commitment_loss: Scalar, the same distance, moving the latents to the codes.
    """

    latents: Tensor
    codes: Tensor
    codebook_loss: Tensor
    commitment_loss: Tensor


class VectorQuantizer(nn.Module):
    """Codebook of `size` rows of `dim` numbers.

    With `l2_norm`, latents and rows are brought to length one whenever they are used, so that the
    nearest row is the one of the highest cosine; stored rows need not have length one.
    """

    def __init__(self, size: int, dim: int, *, l2_norm: bool = True) -> None:
        super().__init__()
        self.l2_norm = l2_norm
        self.embedding = nn.Embedding(size, dim)
        nn.init.uniform_(self.embedding.weight, -1 / size, 1 / size)

    def rows(self) -> Tensor:
        """Codebook as the decoder sees it, `(size, dim)`."""
        return self.scaled(self.embedding.weight)

    def scaled(self, vectors: Tensor) -> Tensor:
        """Vectors `(n, dim)` as they are compared: of length one with `l2_norm`, else as given."""
        return functional.normalize(vectors, dim=-1) if self.l2_norm else vectors

    @torch.no_grad()
    def nearest(self, vectors: Tensor) -> Tensor:
        """Index of the nearest row for each of `vectors` `(n, dim)`; the first one of equals.

        Computed in float32, in pieces of bounded memory.
        """
        rows = self.scaled(self.embedding.weight.float())
        offsets = rows.square().sum(dim=-1) / 2
        chunk = max(1, _CHUNK_ENTRIES // len(rows))
        pieces = self.scaled(vectors.float()).split(chunk)
        found = [(piece @ rows.T - offsets).argmax(dim=-1) for piece in pieces]
        return torch.cat(found) if found else vectors.new_zeros(0, dtype=torch.long)

    def encode(self, latents: Tensor) -> Tensor:
        """Codes `(batch, height, width)` of latents `(batch, dim, height, width)`."""
        batch, _, height, width = latents.shape
        return self.nearest(_flat(latents)).view(batch, height, width)

    def lookup(self, codes: Tensor) -> Tensor:
        """Latents `(batch, dim, height, width)` of codes `(batch, height, width)`."""
        return functional.embedding(codes, self.rows()).permute(0, 3, 1, 2)

    def forward(self, latents: Tensor) -> Quantized:
        """Quantise latents `(batch, dim, height, width)` for training, in float32."""
        codes = self.encode(latents)
        exact = self.scaled(latents.float().permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        rounded = self.lookup(codes).float()
        return Quantized(
            latents=exact + (rounded - exact).detach(),
            codes=codes,
            codebook_loss=functional.mse_loss(rounded, exact.detach()),
            commitment_loss=functional.mse_loss(exact, rounded.detach()),
        )


def _flat(latents: Tensor) -> Tensor:
    """`(batch, dim, height, width)` as `(batch * height * width, dim)`."""
    return latents.permute(0, 2, 3, 1).flatten(0, 2)
