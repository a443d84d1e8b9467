"""Relaxed rejection for chains and trees: the exact rules with a policy in the acceptance test."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from image_ar.discrete.lantern import Lantern, LanternPlus
from image_ar.discrete.laws import Step, check_residual, one_step_bias, refusal_law
from image_ar.discrete.relaxation import Relaxation
from mmspec.distributions import Categorical, OneHot, take_rows
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.rules.certificate import Certificate
from mmspec.rules.chain import require_chain, settle_chain
from mmspec.rules.laws import recorded_laws
from mmspec.rules.match import Match
from mmspec.rules.tree import settle_tree
from mmspec.rules.walk import has_child, longest_path


class _Relaxed:
    """What both rules share.

    Args:
        relaxation: The policy.
        residual: Law of the correction, see :func:`image_ar.discrete.laws.refusal_law`.
        track_bias: Whether to compute the bias of every judged position, which costs about one
            evaluation of the policy for the whole vocabulary a position. Without it verdicts carry
            no bias.

    Raises:
        ValueError: A residual that the policy cannot be used with.
    """

    def __init__(
        self, relaxation: Relaxation, residual: str = "optimal", track_bias: bool = True
    ) -> None:
        check_residual(relaxation, residual)
        self.relaxation, self.residual, self.track_bias = relaxation, residual, track_bias
        self._match = Match()

    @property
    def certificate(self) -> Certificate:
        """The policy's, as long as the residual is one it holds for."""
        promise, official = self.relaxation.certificate, self.residual.startswith("official")
        if self.residual in ("optimal", "plain") or (promise.lossless and not official):
            return promise
        if self.residual == "cluster":
            why = (
                "the mass of every group of units is the target's, one step at a time; inside a "
                "group the output follows the drafter and no bound on that is known"
            )
        else:
            why = (
                f"the residual {self.residual!r} is another law than the acceptance test asks for "
                "and no bound on the output law is known; the bias of every judged position is "
                "reported"
            )
        return Certificate("lossy", why)

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        """Pure: reads the draft, the evidence and the noise.

        An empty draft is matched. So is every draft of a greedy target, save that LANTERN also lets
        units stand whose pooled mass makes them the likeliest, see :meth:`_greedy`.

        Raises:
            TypeError: Laws that are not categorical.
        """
        if not draft.nodes:
            verdict = self._match.judge(draft, evidence, noise)
            return self._with_bias(
                verdict, torch.zeros(verdict.path.shape, device=draft.units.device)
            )
        if isinstance(evidence.law, OneHot):
            return self._greedy(draft, evidence.law)
        if draft.law.is_one_hot:
            vocab = recorded_target(evidence).shape[-1]
            draft = replace(draft, law=Categorical(_one_hot(draft.units, vocab)))
        return self._sampled(draft, evidence, noise)

    def _sampled(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        raise NotImplementedError

    def _greedy(self, draft: Draft, law: OneHot) -> Verdict:
        """A node stands if it is the argmax once its own entry is raised to its pooled mass.

        The unit after the path is the argmax of the untouched logits. The bias of a position is 1
        where another unit than the target's was kept, else 0.
        """
        own = law.draw()
        parents = draft.tree.parents + 1
        stands = matches = draft.units == own.gather(1, parents)
        if law.scores is not None and isinstance(self.relaxation, Lantern | LanternPlus):
            p = take_rows(law.scores, parents).float().softmax(-1)
            units = draft.units.unsqueeze(-1)
            mass = self.relaxation.pooled(p, units, draft.slack).mass
            raised = (mass > p.gather(-1, units)).squeeze(-1)
            likeliest = p.scatter(-1, units, mass).argmax(-1) == draft.units
            stands = stands | (raised & likeliest)
        if draft.valid is not None:
            stands = stands & draft.valid
        path, accepted, end = longest_path(draft.tree, stands)
        bend = (~matches).float().gather(1, path.clamp(min=0)) * (path >= 0)
        verdict = Verdict(
            path=path,
            accepted=accepted,
            own=own.gather(1, end.unsqueeze(1)).squeeze(1),
            corrected=has_child(draft.tree, end, draft.valid),
        )
        return self._with_bias(verdict, bend)

    def _bias(self, step: Step) -> Tensor:
        """One-step bias; laws with NaN count 0, since they refuse and fall back to ``p``."""
        return one_step_bias(step, self.residual).nan_to_num(0.0)

    def _with_bias(self, verdict: Verdict, bias: Tensor) -> Verdict:
        return replace(verdict, bias=bias) if self.track_bias else verdict


class RelaxedChain(_Relaxed):
    """Rejection down a chain with a relaxed acceptance test.

    A drafted ``x ~ q`` is accepted with the policy's probability; at the first refusal the
    correction is drawn from the residual law; if all are accepted one bonus unit is drawn from
    ``p``. Reads the noise as :class:`~mmspec.rules.ChainRejection` does, so that a policy that
    relaxes nothing gives that rule's verdicts bit for bit. A deterministic draft is judged as drawn
    from the law that puts all mass on each unit.

    ``Verdict.bias`` holds ``TV(out, p)`` of every accepted position and of the refused one.
    """

    def _sampled(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        require_chain(draft)
        p, q = recorded_laws(draft, evidence, "relaxed chain rejection")
        steps = torch.arange(draft.nodes, device=p.device).expand(draft.units.shape)
        units = draft.units.unsqueeze(-1)
        favour, against = self.relaxation.odds(p[:, :-1], q, units, steps, draft.slack)
        # Written as a product so that a NaN compares false and refuses.
        stands = noise.fresh("accept", draft.nodes) * against.squeeze(-1) < favour.squeeze(-1)

        def correction(p_end: Tensor, node: Tensor) -> Tensor:
            q_end = take_rows(q, node).squeeze(1)
            step = Step(self.relaxation, p_end, q_end, node.squeeze(1), draft.slack)
            return refusal_law(self.residual, step, draft.units.gather(1, node).squeeze(1))

        verdict = settle_chain(draft, p, stands, correction, noise)
        if not self.track_bias:
            return verdict
        count = verdict.accepted + verdict.corrected.long()
        # Long windows are judged at their start only. Reading how far is free on a CPU; elsewhere
        # it would make the host wait, and the rest runs in parallel anyway.
        far = int(count.max()) if p.device.type == "cpu" else draft.nodes
        step = Step(self.relaxation, p[:, :far], q[:, :far], steps[:, :far], draft.slack)
        bias = torch.where(steps[:, :far] < count.unsqueeze(1), self._bias(step), 0.0)
        return replace(verdict, bias=torch.nn.functional.pad(bias, (0, draft.nodes - far)))


class RelaxedTree(_Relaxed):
    """Recursive rejection down a tree with a relaxed acceptance test.

    The children of a node are tried in draw order against the running law: what the residual law
    made of ``p`` after each refusal. A policy sees that running law, as LANTERN's code has it.
    Reads the noise as :class:`~mmspec.rules.TreeRejection` does, so that a policy that relaxes
    nothing gives that rule's verdicts bit for bit.

    ``Verdict.bias`` holds, for every depth, the sum over the children tried there of ``TV(out,
    running law)``, each as if it were the last. In expectation that is an upper bound of the
    distance between the node's whole output law and ``p``: a later child's bias counts only as
    often as it is tried, and distances add up at most.
    """

    def _sampled(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        p, q = recorded_laws(draft, evidence, "relaxed tree rejection")
        uniforms = noise.fresh("accept", draft.nodes)
        bias = torch.zeros(draft.batch, draft.tree.max_depth, device=p.device)

        def trial(
            law: Tensor, node: Tensor, unit: Tensor, level: int, tried: Tensor
        ) -> tuple[Tensor, Tensor]:
            step = Step(self.relaxation, law, take_rows(q, node).squeeze(1), level, draft.slack)
            favour, against = self.relaxation.odds(law, step.q, unit, level, draft.slack)
            stands = uniforms.gather(1, node) * against < favour
            if self.track_bias:
                bias[:, level] += torch.where(tried, self._bias(step), 0.0)
            return stands.squeeze(1), refusal_law(self.residual, step, unit.squeeze(1))

        return self._with_bias(settle_tree(draft, p, trial, noise), bias)


def recorded_target(evidence: Evidence) -> Tensor:
    """The target's laws ``(batch, nodes + 1, vocab)``.

    Raises:
        TypeError: They are not categorical.
    """
    if not isinstance(evidence.law, Categorical):
        raise TypeError("relaxed rejection needs categorical laws of the target")
    return evidence.law.probs


def _one_hot(units: Tensor, vocab: int) -> Tensor:
    """``(batch, nodes, vocab)`` with all mass on each unit."""
    rows = torch.zeros(*units.shape, vocab, device=units.device)
    return rows.scatter_(-1, units.unsqueeze(-1), 1.0)
