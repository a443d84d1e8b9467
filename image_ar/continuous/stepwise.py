"""The exact rule that couples every step of two denoising chains."""

from __future__ import annotations

import torch
from torch import Tensor

from image_ar.continuous.chain import FinalNoise
from image_ar.continuous.decoding import DENOISE
from image_ar.continuous.gaussian import (
    GaussianStep,
    draw_residual,
    keyed_clocks,
    log_ratio,
    stays,
)
from image_ar.continuous.handback import Continuation
from image_ar.continuous.judging import Own, judged, own_unit, unit_stands
from image_ar.continuous.laws import Paths, recorded
from image_ar.continuous.request import Conditioning, Reads
from mmspec.distributions import take_rows
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.rules.certificate import Certificate
from mmspec.rules.walk import has_child, longest_path


class StepwiseCoupling:
    """A maximal coupling of every denoising step in turn.

    The target's laws at the states that the draft passed through are known in one parallel call.
    Each step of the draft stays with probability ``min(1, p / q)``. The first that does not is
    replaced by a draw from ``norm((p - q)+)`` and the target finishes the chain from there with the
    noise of the later steps, which nothing has looked at. Every step has the target's law given the
    one before, hence so has the vector. A vector is kept only if all of its steps are.

    Source: De Bortoli et al. 2025, arXiv 2501.05370, where every step is a unit of its own.

    Where a ratio is not finite, or no correction is found within ``MOST_CANDIDATES`` candidates (a
    probability of at most 6e-6 a vector), the target makes that step itself.
    """

    certificate = Certificate(
        "exact", "every vector has the law of the target with the noise of its final step on"
    )
    final_noise: FinalNoise = "learned"
    reads: Reads = "paths"
    conditioning: Conditioning = "prefix"

    def plain(self) -> Own:
        """The rule of plain decoding under the law that counts as the target's here."""
        return Own(self.final_noise)

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """Pure. Hands the unit after the path back as a :class:`Continuation`.

        The verdict's score is the log ratio of the densities of whole chains. An empty draft is
        followed by the target's own unit, which needs its Endpoints.

        Raises:
            TypeError: Other laws than :class:`~image_ar.continuous.laws.Paths`, or a tree.
            ValueError: Records whose shapes do not fit.
        """
        if not draft.nodes:
            return own_unit(draft, evidence)
        p, q = recorded(Paths, draft, evidence, type(self).__name__)
        places = p.places[:, : draft.nodes]
        after = torch.cat([q.states[:, :, 1:], draft.units.unsqueeze(2)], 2)
        ratio = log_ratio(p.kernels, q.kernels, after)
        clocks = keyed_clocks(noise.uniforms("accept", places), 0, ratio.shape[2])
        stays_there = stays(ratio, -clocks.movedim(-1, 2))
        agrees, stands = unit_stands(draft, places, stays_there.all(2))
        path, accepted, end = longest_path(draft.tree, agrees)
        refused = has_child(draft.tree, end, draft.valid)
        node = accepted.clamp(max=draft.nodes - 1).unsqueeze(1)
        run = torch.where(stands, ratio.shape[2], stays_there.long().cumprod(2).sum(2))
        mended = _mend(p, q, after, ratio.isfinite(), take_rows(run, node), node, refused, noise)
        begun = _begin(p, end, noise)
        again = Continuation(
            torch.where(refused.view(-1, 1, 1), mended.states, begun.states.to(after.dtype)),
            torch.where(refused.unsqueeze(1), mended.first, begun.first),
        )
        score = torch.where(places >= 0, ratio.sum(2), 0.0).sum(-1)
        return Verdict(path, accepted, None, refused, again, score=judged(draft, score))


def _mend(
    p: Paths,
    q: Paths,
    after: Tensor,
    sound: Tensor,
    run: Tensor,
    node: Tensor,
    refused: Tensor,
    noise: Noise,
) -> Continuation:
    """Where the chains of one node stand once their first refused step is replaced.

    Args:
        p: The target's record.
        q: The draft's.
        after: ``(batch, nodes, steps, group, width)`` where the draft's steps ended.
        sound: ``(batch, nodes, steps, group)`` bool, steps that could be judged.
        run: ``(batch, 1, group)`` steps that stand; all of them in vectors that stay.
        node: ``(batch, 1)``.
        refused: ``(batch,)`` bool, rows where the node was refused.
        noise: Its ``residual`` stream is read.
    """
    steps = after.shape[2]
    step = run.clamp(max=steps - 1)

    def take(values: Tensor) -> Tensor:
        """Of ``(batch, nodes, steps, group, ...)`` the refused step of each vector."""
        here = take_rows(values, node).squeeze(1)
        index = step.reshape(*step.shape, *[1] * (here.dim() - 3)).expand(-1, 1, *here.shape[2:])
        return here.gather(1, index).squeeze(1)

    run = run.squeeze(1)
    step_p = GaussianStep(take(p.kernels.mean), take(p.kernels.log_std))
    step_q = GaussianStep(take(q.kernels.mean), take(q.kernels.log_std))
    wanted = refused.unsqueeze(1) & (run < steps) & take(sound)
    keys = noise.uniforms("residual", take_rows(p.places, node).squeeze(1))
    corrected, found = draw_residual(step_p, step_q, keys, wanted)
    stood = torch.where((run == steps).unsqueeze(-1), take(after), take(q.states))
    return Continuation(torch.where(found.unsqueeze(-1), corrected, stood), run + found)


def _begin(law: Paths, end: Tensor, noise: Noise) -> Continuation:
    """Chains that have not begun, of the unit after evidence row ``end`` ``(batch,)``."""
    steps, width = law.states.shape[2], law.states.shape[-1]
    places = take_rows(law.places, end.unsqueeze(1)).squeeze(1)
    states = noise.normals(DENOISE, places, (steps + 1, width))[..., 0, :]
    return Continuation(states, torch.where(places < 0, steps, 0))
