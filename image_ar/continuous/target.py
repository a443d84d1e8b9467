"""The target role for models that draw pictures vector by vector."""

from __future__ import annotations

import torch
from torch import Tensor

from image_ar.continuous.chain import Condition, finish, kernels_along, settle
from image_ar.continuous.decoding import LatentDecoder, LatentState, draw
from image_ar.continuous.evidence import endpoints_of, steps_of
from image_ar.continuous.handback import Continuation, Replacement
from image_ar.continuous.judging import Own
from image_ar.continuous.laws import Paths
from image_ar.continuous.reporting import Written, report
from image_ar.continuous.request import LatentRequest
from mmspec.distributions import take_rows
from mmspec.messages import Commit, Draft, Evidence, Verdict


class LatentTarget:
    """A :class:`~mmspec.roles.Target` on top of a :class:`LatentDecoder`.

    One unit is one autoregressive step, a group of vectors ``(group, width)``. Commits list single
    vectors, as tuples of numbers with their raster places. The randomness of a vector is a function
    of (seed, place), so plain decoding and every method see the same.

    Args:
        decoder: The model behind its adapter.

    Attributes:
        denoising_steps: In how many the model is sampled unless told; None where it does not say.
    """

    plain_rule = Own
    denoising_steps: int | None = None

    def __init__(self, decoder: LatentDecoder) -> None:
        self.decoder = decoder

    @torch.no_grad()
    def prefill(self, request: LatentRequest) -> tuple[LatentState, Evidence]:
        """Read what is to be drawn; the evidence holds the first step's vectors.

        Raises:
            ValueError: Inputs that the model refuses.
        """
        state, condition = LatentState.start(self.decoder, request)
        return state, self._endpoints(state, condition, 1)

    @torch.no_grad()
    def score(self, state: LatentState, draft: Draft) -> Evidence:
        """Condition the drafted steps in one pass, then denoise all their vectors side by side.

        Where the rule reads paths, the kernels are evaluated along the drafted states instead, all
        denoising steps at once; the target's own unit is then made in ``commit``.
        """
        nodes = draft.nodes
        if nodes and state.conditioning == "window":
            condition = self.decoder.window_conditions(state, nodes)
            return self._endpoints(state, condition, nodes)
        units = draft.units if nodes else state.canvas.new_zeros(state.batch, 0, *self._unit(state))
        condition = self.decoder.conditions(state, units)
        if nodes and state.reads == "paths":
            return self._paths(state, condition, draft)
        return self._endpoints(state, condition, nodes + 1)

    @torch.no_grad()
    def commit(
        self, state: LatentState, draft: Draft, evidence: Evidence, verdict: Verdict
    ) -> Commit:
        """Write the accepted steps and the target's own, or those the rule put in their places.

        Mutates the state: vectors, lengths, finished flags.

        Raises:
            FloatingPointError: A vector that would be written is not finite.
        """
        written = self._emission(state, draft, evidence, verdict)
        steps, room = written.steps, state.steps - state.lengths
        running = ~torch.tensor(state.finished, device=state.device)
        count = torch.minimum(steps, room) * running
        ahead = state.places(written.units.shape[1])
        kept = torch.arange(ahead.shape[1], device=state.device) < count.unsqueeze(1)
        places = torch.where(kept.unsqueeze(-1), ahead, -1)
        state.write(places, written.units)
        state.lengths = state.lengths + count
        state.pending, state.scored = 1, None
        return report(state, draft, verdict, written, places, ahead)

    def _emission(
        self, state: LatentState, draft: Draft, evidence: Evidence, verdict: Verdict
    ) -> Written:
        """What the round adds."""
        again = verdict.again
        if isinstance(again, Replacement):
            return Written(again.units, verdict.accepted, again.replaced)
        own = verdict.own
        if isinstance(again, Continuation):
            own = self._continued(state, verdict.accepted, again)
        if own is None:
            raise TypeError("the rule names no unit of the target, and nothing to make it from")
        own = own.unsqueeze(1)
        if not draft.nodes:
            return Written(own, verdict.accepted + 1)
        units = torch.cat([draft.units, own], 1)
        index = verdict.accepted.view(-1, 1, 1, 1).expand_as(own)
        return Written(units.scatter(1, index, own), verdict.accepted + 1)

    def _continued(self, state: LatentState, accepted: Tensor, again: Continuation) -> Tensor:
        """The target's own unit, its chains finished from where the rule left them."""
        assert state.scored is not None
        group, width = self._unit(state)
        nodes = len(state.scored.vectors) // (state.batch * group)
        rows = torch.arange(state.batch, device=state.device) * nodes + accepted
        rows = rows.unsqueeze(1) * group + torch.arange(group, device=state.device)
        places = take_rows(state.places(nodes), accepted.unsqueeze(1)).flatten(1)
        normals = state.normals(places, state.process.steps).flatten(0, 1)
        chain = finish(
            state.head,
            state.process,
            state.scored.select(rows.flatten()),
            again.states.flatten(0, 1),
            again.first.flatten(),
            normals,
            state.denoising.temperature,
        )
        made = settle(chain.last, state.denoising.final_noise, normals[:, -1])
        finished = (again.first.flatten() >= state.process.steps).unsqueeze(-1)
        return torch.where(finished, again.states.flatten(0, 1), made).view(-1, group, width)

    def _endpoints(self, state: LatentState, condition: Condition, rows: int) -> Evidence:
        """The target's own chains of the next ``rows`` steps, along the shared noise."""
        places = state.places(rows)
        normals = state.normals(places).flatten(0, 2)
        chain, vectors = draw(state, condition, normals)
        law = endpoints_of(chain, vectors, places)
        return Evidence(law=law, positions=places[..., 0].clamp(min=0))

    def _paths(self, state: LatentState, condition: Condition, draft: Draft) -> Evidence:
        """The target's kernels along the drafted states."""
        law = draft.law
        if not isinstance(law, Paths):
            raise TypeError(
                "a rule that reads paths needs a drafter that records them; use the draft model "
                "with as many denoising steps as the target"
            )
        state.scored = condition
        places = state.places(draft.nodes + 1)
        rows = torch.arange(len(condition.vectors), device=state.device).view(places.shape)
        kernels = kernels_along(
            state.head,
            state.process,
            condition.select(rows[:, :-1].flatten()),
            law.states.transpose(2, 3).flatten(0, 2),
            state.denoising.temperature,
        )
        found = Paths(law.states, steps_of(kernels, places[:, :-1]), places)
        return Evidence(law=found, positions=places[..., 0].clamp(min=0))

    def _unit(self, state: LatentState) -> tuple[int, int]:
        return state.group, self.decoder.width
