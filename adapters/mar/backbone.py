"""What the masked and the causal model share: inputs, class vectors, the diffusion head."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from adapters.mar.config import MARConfig
from adapters.mar.head import DiffusionHead

_INIT_STD = 0.02


class Backbone(nn.Module):
    """Embeddings of tokens and classes, and the head; module names of the released checkpoints.

    Args:
        config: Its sizes.
    """

    def __init__(self, config: MARConfig) -> None:
        super().__init__()
        self.config = config
        width, condition_width = config.input_width, config.decoder_width
        self.class_emb = nn.Embedding(config.classes, width)
        self.fake_latent = nn.Parameter(torch.zeros(1, width))
        self.z_proj = nn.Linear(config.token_width, width)
        self.z_proj_ln = nn.LayerNorm(width, eps=config.norm_eps)
        self.diffusion_pos_embed_learned = nn.Parameter(
            torch.zeros(1, config.cells, condition_width)
        )
        head = DiffusionHead(
            config.token_width,
            condition_width,
            config.head_width,
            config.head_blocks,
            config.norm_eps,
        )
        self.diffloss = nn.ModuleDict({"net": head})

    @torch.no_grad()
    def reset_parameters(
        self, generator: torch.Generator | None = None, zero_output: bool = True
    ) -> None:
        """Draw all weights anew: embeddings with deviation 0.02, matrices after Xavier, norms 1.

        Args:
            generator: Source of the numbers; None for torch's own.
            zero_output: False draws the head's output and modulations, which start at zero, like
                the others.
        """
        for parameter in self.parameters(recurse=False):
            nn.init.normal_(parameter, std=_INIT_STD, generator=generator)
        nn.init.normal_(self.class_emb.weight, std=_INIT_STD, generator=generator)
        for name, module in self.named_modules():
            if name.startswith("diffloss"):
                continue
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                module.bias.zero_()
            elif isinstance(module, nn.LayerNorm):
                module.reset_parameters()
        self.head.reset_parameters(generator, zero_output)

    @property
    def head(self) -> DiffusionHead:
        """The diffusion head."""
        head = self.diffloss["net"]
        assert isinstance(head, DiffusionHead)
        return head

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.fake_latent.device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self.fake_latent.dtype

    def class_vectors(self, labels: Tensor, drop: Tensor | None = None) -> Tensor:
        """Vectors of classes.

        Args:
            labels: ``(rows,)``.
            drop: ``(rows,)`` bool, True for rows that get the vector of no class instead.

        Returns:
            ``(rows, W)``.
        """
        vectors = self.class_emb(labels)
        if drop is None:
            return vectors
        return torch.where(drop.unsqueeze(1), self.fake_latent, vectors)


def transformer_block(config: MARConfig, width: int, heads: int) -> nn.Module:
    """A pre-norm block: attention with biases, then a GELU feed-forward."""
    block: nn.Module = Block(
        width,
        heads,
        config.mlp_ratio,
        qkv_bias=True,
        proj_drop=config.dropout,
        attn_drop=config.dropout,
        norm_layer=lambda size, **rest: nn.LayerNorm(size, eps=config.norm_eps, **rest),
    )
    return block
