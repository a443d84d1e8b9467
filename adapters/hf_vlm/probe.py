"""A short trial that a model of an untested type really verifies a tree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mmspec.messages import Draft
from mmspec.token_target import Request, TokenTarget
from mmspec.trees import Tree

if TYPE_CHECKING:
    from adapters.hf_vlm.decoder import HFDecoder

_PROMPT = [[5, 7, 3, 8]]
_PATHS = ((0,), (1,), (0, 0), (1, 0), (1, 1))
_UNITS = [[4, 9, 6, 6, 3]]
# The branches that end at the last three nodes, by node.
_BRANCHES = {2: [4, 6], 3: [9, 6], 4: [9, 3]}


def probe(decoder: HFDecoder) -> None:
    """Compare three branches of a tree, scored in one pass, with passes of their own.

    Raises:
        ValueError: They differ by more than rounding, or the model cannot use the cache at all.
    """
    try:
        _probe(decoder)
    except (AttributeError, IndexError, KeyError, RuntimeError, TypeError) as error:
        raise ValueError(
            f"model type '{decoder.model.config.model_type}' cannot run on the cache that drafts "
            f"need ({type(error).__name__}: {error}); it cannot be a target"
        ) from error


@torch.inference_mode()
def _probe(decoder: HFDecoder) -> None:
    device = decoder.model.get_input_embeddings().weight.device
    target = TokenTarget(decoder)
    prompt = torch.tensor(_PROMPT, device=device)
    state, _ = target.prefill(Request({"input_ids": prompt}, lookahead=len(_PATHS)))
    state.tokens[:, prompt.shape[1]] = _UNITS[0][-1]
    root = state.tokens[:, : prompt.shape[1] + 1]
    state.lengths, state.host_lengths, state.pending = state.lengths + 1, [root.shape[1]], 1
    tree = Tree.static(_PATHS)
    draft = Draft(torch.tensor(_UNITS, device=device), Tree(tree.parents.to(device), 2))
    scored, _ = target.forward(state, draft)
    for node, branch in _BRANCHES.items():
        whole = torch.cat([root, torch.tensor([branch], device=device)], dim=1)
        alone = decoder.model(input_ids=whole, use_cache=False).logits[0, -1]
        _compare(scored[0, node + 1], alone, decoder)


def _compare(scored: Tensor, alone: Tensor, decoder: HFDecoder) -> None:
    """A wrong mask or position moves logits by about their spread; rounding by far less."""
    allowed = 3 * torch.finfo(alone.dtype).eps ** 0.5 * alone.float().std()
    gap = (scored.float() - alone.float()).abs().amax()
    # Written so that a NaN refuses.
    if not bool(gap <= allowed):
        raise ValueError(
            f"model type '{decoder.model.config.model_type}' does not score a token tree as it "
            f"scores its branches (logits differ by {float(gap):.2g}); it cannot be a target"
        )
