"""A drafter of latent vectors: a model of the same kind, or the target itself with fewer steps."""

from __future__ import annotations

import torch
from torch import Tensor

from image_ar.continuous.chain import Chain
from image_ar.continuous.decoding import LatentDecoder, LatentState, draw
from image_ar.continuous.evidence import by_node, endpoints_of, paths_of, woven
from image_ar.continuous.laws import Endpoints, Paths
from image_ar.continuous.request import LatentRequest
from mmspec.messages import Commit, Draft, Evidence, Plan, Verdict
from mmspec.noise import Noise

# About how much a vector varies that is mostly known from those before it; decides which of the
# target's normals count most in a coarser chain.
SPREAD = 0.07


class LatentDrafter:
    """Drafts step after step, along the very noise that the target denoises with.

    With the target's own decoder and fewer denoising steps this needs no second model: the chain
    is then coarser and every of its steps sees the noise of those it stands for, summed up and
    brought back to variance one, so that the two ends stay close.

    Args:
        decoder: The drafting model; it fills pictures in the target's order.
        steps: Denoising steps; None takes the target's.
        usual: Steps that the decoder was trained to draft in; no more than the target's are taken.
        share: Of the target's denoising steps, at least 2 of them; instead of both.
        paths: Record all kernels, for rules that compare paths.
        name: For the trace.

    Raises:
        ValueError: Paths of another number of steps than the target's were asked for.
    """

    def __init__(
        self,
        decoder: LatentDecoder,
        *,
        steps: int | None = None,
        usual: int | None = None,
        share: float | None = None,
        paths: bool = False,
        name: str = "cspd",
    ) -> None:
        if paths and (steps is not None or usual is not None or share is not None):
            raise ValueError(
                "comparing whole paths needs a drafter with the target's denoising steps; leave "
                "out draft_steps, or choose a mode that compares the ends of chains"
            )
        self.decoder, self.name = decoder, name
        self._steps, self._usual, self._share, self._paths = steps, usual, share, paths
        self._own: LatentState | None = None
        self._known: list[int] = []  # steps of each row that the context holds rightly
        self._gains = torch.empty(0)  # of the noise of the target's denoising steps

    def reset(self) -> None:
        """Forget the pictures."""
        self._own, self._known = None, []

    @torch.no_grad()
    def draft(self, state: LatentState, plan: Plan, noise: Noise) -> Draft:
        """Draw the next ``plan.length`` steps, fewer near the end of the pictures."""
        left = max(state.steps - done for done in state.host_lengths)
        # A rule that sees the window alone adds nothing after it; others add one step.
        count = min(plan.length, left - (state.conditioning == "prefix"))
        if count < 1:
            return Draft.empty(state.batch, state.device)
        own = self._follow(state)
        places = own.places(count)
        units, law = self._run(own, places)
        # The last step's vectors have not been read by the model yet.
        self._known = [done + count - 1 for done in state.host_lengths]
        healthy = units.isfinite().flatten(1).all(1)
        valid = (places >= 0).any(-1)
        return Draft.chain(units, law, source=self.name, healthy=healthy, valid=valid)

    def observe(
        self, state: LatentState, draft: Draft, evidence: Evidence, verdict: Verdict, commit: Commit
    ) -> None:
        """Nothing to note: the next draft follows the target's state."""

    def _follow(self, state: LatentState) -> LatentState:
        """Bring the own state to the committed steps."""
        own = self._own
        if own is None:
            own = self._own = self._open(state)
            self._known = [0] * own.batch
        # The target's own unit, the last one, has never been read.
        pairs = zip(self._known, state.host_lengths, strict=True)
        self._known = [min(known, done - 1) for known, done in pairs]
        own.canvas, own.lengths = state.canvas, state.lengths
        own.host_lengths = list(state.host_lengths)
        own.pending = max(d - k for d, k in zip(own.host_lengths, self._known, strict=True))
        return own

    def _open(self, state: LatentState) -> LatentState:
        """Have the own model read what is to be drawn."""
        request = LatentRequest(
            inputs=state.inputs,
            cells=self.decoder.cells,
            denoising=state.denoising,
            ar_steps=state.ar_steps,
            lookahead=state.lookahead,
            noise=state.noise,
        )
        steps, most = self._steps, state.denoising.steps
        if self._usual is not None:
            steps = min(self._usual, most)
        elif self._share is not None:
            steps = max(2, round(self._share * most))
        self._gains = state.process.noise_gains(SPREAD)
        own, _ = LatentState.start(self.decoder, request, steps)
        if not torch.equal(own.layout, state.layout):
            raise ValueError(
                "the drafter fills pictures in another order than the target; both must be causal, "
                "or both masked with one grid"
            )
        return own

    def _run(self, own: LatentState, places: Tensor) -> tuple[Tensor, Endpoints | Paths]:
        """Draw the steps of ``places`` ``(batch, count, group)`` into the own state.

        Returns:
            The units ``(batch, count, group, width)`` and their record.
        """
        normals = coarser(own.normals(places).flatten(0, 2), own.process.steps, self._gains)
        normals = normals.view(*places.shape, *normals.shape[1:])
        nothing = own.canvas.new_zeros(own.batch, 0, own.group, self.decoder.width)
        chains: list[Chain] = []
        drawn: list[Tensor] = []
        for here, noises in zip(places.split(1, 1), normals.unbind(1), strict=True):
            condition = self.decoder.conditions(own, nothing)
            chain, vectors = draw(own, condition, noises.flatten(0, 1), record=self._paths)
            chains.append(chain)
            drawn.append(vectors)
            own.write(here, vectors.view(*here.shape, -1))
            own.lengths = own.lengths + 1
            own.host_lengths = [length + 1 for length in own.host_lengths]
            own.pending = 1
        chain, vectors = woven(chains, own.batch), by_node(drawn, own.batch)
        units = vectors.view(*places.shape, -1)
        return units, (
            paths_of(chain, places) if self._paths else endpoints_of(chain, vectors, places)
        )


def coarser(normals: Tensor, steps: int, gains: Tensor) -> Tensor:
    """Noise of a chain of fewer steps that follows the finer one's.

    A coarse step stands for a run of fine ones. It gets the sum of their normals, each as much as
    it moves the end of the fine chain, scaled to be standard normal too; the start and the last
    step keep their own.

    Args:
        normals: ``(rows, fine + 1, width)``.
        steps: Coarse steps, at most ``fine``.
        gains: ``(fine - 1,)``, see :meth:`DiffusionProcess.noise_gains`; the law is the same
            whatever they are.

    Returns:
        ``(rows, steps + 1, width)``; ``normals`` itself where nothing changes.

    Raises:
        ValueError: More steps than the finer chain has.
    """
    fine = normals.shape[1] - 1
    if steps == fine:
        return normals
    if steps > fine:
        raise ValueError(
            f"a drafter of {steps} denoising steps cannot follow a target of {fine}; "
            "give draft_steps of at most the target's"
        )
    owner = torch.arange(fine - 1, device=normals.device) * (steps - 1) // (fine - 1)
    weights = gains.to(normals).view(1, -1, 1)
    sums = normals.new_zeros(len(normals), steps - 1, normals.shape[-1])
    sums.index_add_(1, owner, weights * normals[:, 1:-1])
    squares = sums.new_zeros(1, steps - 1, 1).index_add_(1, owner, weights.square())
    middle = sums / squares.sqrt()
    return torch.cat([normals[:, :1], middle, normals[:, -1:]], 1)
