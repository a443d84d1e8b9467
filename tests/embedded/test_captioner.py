"""Every method on the embedded captioner: equal output, the right law, the acceptance on record."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from adapters.hf_vlm import load_target
from mmspec import catalog
from mmspec.assembly import Recipe
from mmspec.bench import growth
from mmspec.bench.caption import CaptionBench
from mmspec.certify import certify
from mmspec.engine import Engine
from mmspec.messages import Draft, Evidence, Verdict
from mmspec.noise import Noise
from mmspec.pipelines import pipeline
from mmspec.rules import Exact
from mmspec.rules.walk import longest_path
from mmspec.sampling import Sampling
from mmspec.token_target import Request

METHODS = [
    row.name
    for row in catalog.methods("text")
    if row.build and (not row.trained or catalog.embedded_folder("tiny", row.name))
]
TAU = {
    "eagle": 11.5,
    "vispec": 7.38,
    "specvlm": 7.52,
    "flash": 5.59,
    "draft-model": 2.15,
    "prompt-lookup": 1.15,
}


def engine(target, method: str) -> Engine:
    recipe = Recipe.choose(method, model="tiny", pacer="fixed", strict=True)
    return recipe.engine(target, load_target)


def options(target, **more) -> Sampling:
    return Sampling(max_new_tokens=96, stop_ids=tuple(target.stop_ids), **more)


@pytest.mark.parametrize("method", METHODS)
def test_greedy_captions_equal_generate(target, pictures, frames, prompt, method):
    images = [[pictures[0]], list(frames), [pictures[1]]]  # a ragged batch: picture, clip, picture
    inputs = target.prepare(images, [prompt] * 3)
    rows, trace = engine(target, method).generate(Request(inputs, options(target)), seeds=[0, 1, 2])
    assert trace.notes == []
    for row, shown in zip(rows, images, strict=True):
        alone = target.prepare([shown], [prompt])
        wanted = target.model.generate(**alone, max_new_tokens=96, do_sample=False)
        assert row == wanted[0, alone["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("method", ["eagle", "prompt-lookup"])
def test_one_seed_gives_one_caption_with_and_without_drafts(target, pictures, prompt, method):
    inputs = target.prepare([[picture] for picture in pictures[:4]], [prompt] * 4)
    request = Request(inputs, options(target, temperature=1.0))
    plain, _ = Engine(target).generate(request, seeds=[5, 6, 7, 8])
    ours, trace = engine(target, method).generate(request, seeds=[5, 6, 7, 8])
    assert ours == plain
    assert trace.acceptance_length > 1


@pytest.mark.parametrize("method", ["eagle", "draft-model"])
def test_the_law_at_temperature_one(target, puzzles, prompt, method):
    inputs = target.prepare([[picture] for picture in puzzles], [prompt] * 8)
    request = Request(inputs, options(target, temperature=1.0))
    report = certify(engine(target, method), [request], samples=12, positions=24, seed=1)
    assert report.lossless, str(report)
    assert report.accepted > 200


class Trusting:
    """A biased twin: keeps the drafter's favourite branch whatever the target says of it."""

    certificate = Exact.certificate

    def judge(self, draft: Draft, evidence: Evidence, noise: Noise) -> Verdict:
        if not draft.nodes or evidence.law.is_one_hot:
            return Exact().judge(draft, evidence, noise)
        own = evidence.law.draw(noise.at("target", evidence.positions))
        first = torch.zeros_like(draft.units, dtype=torch.bool)
        first[:, 0] = True  # the likeliest child of the root
        path, accepted, end = longest_path(draft.tree, first)
        return Verdict(path, accepted, own.gather(1, end.unsqueeze(1)).squeeze(1), accepted < 0)


def test_a_biased_twin_is_convicted(target, puzzles, prompt):
    inputs = target.prepare([[picture] for picture in puzzles], [prompt] * 8)
    biased = engine(target, "eagle")
    biased.rule = Trusting()
    request = Request(inputs, options(target, temperature=1.0))
    report = certify(biased, [request], samples=12, positions=24, seed=1)
    assert report.lossless is False


@pytest.mark.parametrize("method", sorted(TAU))
def test_acceptance_length_is_the_one_on_record(target, pictures, prompt, method):
    """A bug that keeps the output right but breaks the drafter shows here."""
    running, trace = engine(target, method), None
    for picture in pictures:
        inputs = target.prepare([[picture]], [prompt])
        _, trace = running.generate(Request(inputs, options(target)), trace)
    assert trace.acceptance_length == pytest.approx(TAU[method], rel=0.05)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_a_thousand_captions_leave_memory_flat(pictures):
    caption = pipeline("caption", model="tiny", method="eagle", dtype="float32")

    def run(times: int) -> int:
        for number in range(times):
            caption(pictures[number % 8], max_new_tokens=6)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096

    before = run(200)
    assert run(800) - before < 16 * 2**20


def test_weights_stay_small():
    folder = Path(catalog.resolve("adapters.tiny:folder")("captioner")).parent
    files = [folder / name / "model.safetensors" for name in set(catalog.EMBEDDED["tiny"].values())]
    assert len(files) == 6
    assert sum(file.stat().st_size for file in files) < 17e6
    for file in files:
        assert (file.parent / "README.md").is_file()


def test_bfloat16_differs_only_at_near_ties(pictures, prompt):
    half = pipeline("caption", model="tiny", method="none", dtype="bfloat16").target
    inputs = half.prepare([[picture] for picture in pictures[:4]], [prompt] * 4)
    report = certify(engine(half, "eagle"), [Request(inputs, options(half))], samples=5)
    assert all(one.allowed for one in report.divergences), str(report)
    assert half.dtype is torch.bfloat16


def test_visual_tokens_are_measured_for_every_drafter_that_reads_them(monkeypatch, target):
    monkeypatch.setattr(growth, "FRAMES", (2, 4))
    bench = CaptionBench(frames=8, repeats=1, max_new_tokens=12)
    rows = list(growth.measure_growth(bench, target))
    assert {row.method for row in rows} == {"eagle", "vispec", "specvlm", "flash"}
    sizes = {(row.method, row.visual_tokens): row.cache_bytes for row in rows}
    # One run however many frames: only how far the last round came differs.
    row, slack = 2 * 5 * 32 * 4, 12
    assert sizes["eagle", 144] - sizes["eagle", 72] >= (72 - slack) * row
    for method in ("vispec", "flash"):
        assert abs(sizes[method, 144] - sizes[method, 72]) <= slack * row
    assert {row.entry.name for row in rows} == {f"{m} {tokens}" for m, tokens in sizes}
