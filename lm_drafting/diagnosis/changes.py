"""Changes of a case, and whether there is anything to change: what the table of ablations uses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from lm_drafting.diagnosis.case import Case, ClosedUp, twin
from lm_drafting.eagle3.config import default_layers
from lm_drafting.features.network import DraftNetwork
from lm_drafting.targets import placeholder_ids
from lm_drafting.vision.text_only import TextOnly

Layers = tuple[int, ...]
# Layers instead of those that the network is configured for, in a target of so many.
Choose = Callable[[Layers, int], Layers]


def always(case: Case) -> bool:
    """Whatever the drafter is."""
    return True


# Hidden states


def reads_last(case: Case) -> bool:
    """Whether the network reads the last hidden states, which come after the final norm."""
    return case.network.target_layers is None


def before_norm(case: Case) -> Case:
    """The last hidden states as they leave the last layer."""
    return case.reading([case.layers[case.top]])


def reads_top(case: Case) -> bool:
    """Whether what leaves the last layer is among several layers read."""
    return case.top in (case.network.target_layers or ())


def top_after_norm(case: Case) -> Case:
    """The final norm's output in the place of what leaves the last layer."""
    known = {**case.layers, case.top: case.batch.hidden}
    return case.reading([known[layer] for layer in case.network.target_layers or ()])


def lower(layers: Layers, count: int) -> Layers:
    """Every layer's input taken for the one before."""
    return tuple(layer - 1 for layer in layers)


def higher(layers: Layers, count: int) -> Layers:
    """Every layer's input taken for its output."""
    return tuple(layer + 1 for layer in layers)


def usual(layers: Layers, count: int) -> Layers:
    """The layers that official drafters read."""
    return default_layers(count)


def layers_to_read(served: Layers | None, count: int) -> Layers:
    """Layers of a target of ``count`` whose inputs the case of a drafter needs, ascending.

    Args:
        served: Layers that the drafter is configured for; None for the last hidden state.
        count: Layers of the target.
    """
    found = {count}
    if served is not None:
        found.update(served, *(choose(served, count) for choose in (lower, higher, usual)))
    return tuple(sorted(layer for layer in found if 0 <= layer <= count))


def has_layers(case: Case, choose: Choose) -> bool:
    """Whether the target has the layers chosen, as many as those served and not the same."""
    served = case.network.target_layers
    if served is None:
        return False
    chosen = choose(served, case.top)
    return chosen != served and len(chosen) == len(served) and set(chosen) <= case.layers.keys()


def other_layers(case: Case, choose: Choose) -> Case:
    """The layers chosen instead of those served."""
    chosen = choose(case.network.target_layers or (), case.top)
    return case.reading([case.layers[layer] for layer in chosen])


# Pairs of an embedding and a hidden state


def unshifted(case: Case) -> Case:
    """Each hidden state with the embedding of its own token; pictures move along by one row."""
    batch = case.batch
    embeds = torch.cat([batch.embeds[:, :1], batch.embeds[:, :-1]], 1)
    runs = [
        [replace(run, start=run.start + 1, end=run.end + 1) for run in row] for row in batch.runs
    ]
    return replace(case, batch=replace(batch, embeds=embeds, runs=runs))


def has_halves(case: Case) -> bool:
    """Whether one projection reads embedding and hidden state side by side."""
    joint = _joint(case.network)
    return joint is not None and joint.in_features == 2 * case.network.config.hidden_size


def swapped(case: Case) -> Case:
    """That projection with its columns swapped, as if the hidden state came first."""
    network = twin(case.network)
    joint = _joint(network)
    assert joint is not None
    left, right = joint.weight.chunk(2, dim=1)
    joint.weight = nn.Parameter(torch.cat([right, left], 1), requires_grad=False)
    return replace(case, network=network)


def _joint(network: DraftNetwork) -> nn.Linear | None:
    """``fc``; in EAGLE-3, where that condenses layers, the attention's own projection."""
    found = getattr(network, "qkv_proj" if network.kind == "eagle3" else "fc", None)
    return found if isinstance(found, nn.Linear) else None


# Pictures


def reads_pictures(case: Case) -> bool:
    """Whether rows of pictures reach the network."""
    return case.shows_pictures and not isinstance(case.network.compressor, TextOnly)


def embeds_pictures(case: Case) -> bool:
    """Whether these rows are made of embeddings, and the placeholder has one of its own."""
    compressor = case.network.compressor
    reads_embeds = compressor is None or compressor.reads != "hidden"
    known = max(placeholder_ids(case.target), default=0) < case.target.decoder.vocab_size
    return reads_pictures(case) and reads_embeds and known


def placeholder_rows(case: Case) -> Case:
    """The placeholder's row of the embedding table in the place of every vision feature."""
    ids, embeds = case.batch.ids, case.batch.embeds
    shown = torch.isin(ids, torch.tensor(placeholder_ids(case.target), device=ids.device))
    table = case.target.embed(ids).to(embeds)  # (batch, length, hidden)
    embeds = torch.where(shown.unsqueeze(-1), table, embeds)
    return replace(case, batch=replace(case.batch, embeds=embeds))


def compresses(case: Case) -> bool:
    """Whether the network shortens pictures."""
    return case.shows_pictures and case.network.compressor is not None


def uncompressed(case: Case) -> Case:
    """Every visual token."""
    network = twin(case.network)
    network.compressor = None
    return replace(case, network=network)


def left_out(case: Case) -> Case:
    """No visual token; text stays where it is."""
    network = twin(case.network)
    network.compressor = TextOnly()
    return replace(case, network=network)


def closed_up(case: Case) -> Case:
    """Every row right behind the one before it."""
    network = case.network
    return replace(case, rotary=ClosedUp(network.cache_shape[1], network.config.rope_theta))


def left_out_closed_up(case: Case) -> Case:
    """No visual token, and no room for them."""
    return closed_up(left_out(case))


# EAGLE-3's vocabulary and norms


def has_map(case: Case) -> bool:
    """Whether draft ids differ from target ids."""
    d2t = getattr(case.network, "d2t", None)
    return isinstance(d2t, Tensor) and bool(d2t.any())


def absolute_map(case: Case) -> Case:
    """The map's numbers taken for target ids."""
    network = twin(case.network)
    d2t = network.d2t
    assert isinstance(d2t, Tensor)
    network.d2t = d2t - torch.arange(len(d2t), device=d2t.device)
    return replace(case, network=network)


def no_map(case: Case) -> Case:
    """Draft ids taken for target ids."""
    network = twin(case.network)
    d2t = network.d2t
    assert isinstance(d2t, Tensor)
    network.d2t = torch.zeros_like(d2t)
    return replace(case, network=network)


def has_flag(case: Case, flag: str) -> bool:
    """Whether the network's configuration has a flag."""
    return hasattr(case.network.config, flag)


def flipped(case: Case, flag: str) -> Case:
    """The flag the other way round."""
    network = twin(case.network)
    network.config = replace(network.config, **{flag: not getattr(network.config, flag)})
    return replace(case, network=network)
