"""Methods over latent vectors by their names, through the image pipeline."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

import mmspec
from adapters.mar.loading import assemble
from adapters.mar.target import LatentDefaults, LatentImageTarget
from image_ar.continuous.pacing import Prefilled
from mmspec import catalog
from mmspec.messages import Plan
from mmspec.pacing import Fixed
from tests.adapters.mar.test_decoders import GRID, network
from tests.adapters.mar.test_loading import CLASSES, tiny_vae

CELLS = GRID * GRID
DEFAULTS = LatentDefaults(guidance_scale=1.5, num_inference_steps=4)


def target_of(variant: str = "causal", depth: int = 2, seed: int = 0) -> LatentImageTarget:
    model = network(variant, depth, seed)
    return assemble(model, tiny_vae(), classes=CLASSES, defaults=DEFAULTS, name="tiny")


def paint(method: str, target=None, drafter=None, **options):
    return mmspec.pipeline(
        "image", target or target_of(), method=method, drafter=drafter, strict=True, **options
    )


@pytest.mark.parametrize("mode", ["exact", "smoothed", "stepwise", "tolerance", "published"])
def test_every_mode_draws_whole_pictures_and_says_what_it_promises(mode: str) -> None:
    pipe = paint("cspd", drafter=target_of(depth=1, seed=3), mode=mode, draft_length=4)
    result = pipe(class_id=[1, 3], seed=0, compare=True, batch_size=2)
    assert [len(one.tokens) for one in result.outputs] == [CELLS, CELLS]
    assert result.lossless == (mode in ("exact", "stepwise"))
    assert result.certificate.split(":")[0] in ("exact", "bounded", "lossy")
    assert result.identical is None
    assert result.heatmap(0).width > 0
    assert len(result.trace.scores) > 0


def test_tolerance_zero_is_lossless_and_draws_the_plain_pictures() -> None:
    pipe = paint("cspd", drafter=target_of(depth=1, seed=3), delta=0)
    result = pipe(class_id=2, seed=0, compare=True)
    assert result.lossless
    one = result.outputs[0]
    largest = max(abs(number) for vector in one.baseline_tokens for number in vector)
    for ours, plain in zip(one.tokens, one.baseline_tokens, strict=True):
        assert ours == pytest.approx(plain, abs=2e-5 * largest)


def test_the_target_drafts_for_itself() -> None:
    pipe = paint("cspd-self", draft_steps=2, delta=1e9, draft_length=3, prefill=0)
    result = pipe(class_id=2, seed=0)
    assert result.metrics.acceptance_rate == 1.0
    assert result.nfe == 1 + -(-(CELLS - 1) // 4)


def test_the_released_mode_counts_as_the_program_does() -> None:
    """Target passes: floor(K * prefill) + 1 alone, then one a window that ends at multiples."""
    share, length = 0.2, 3
    pipe = paint(
        "cspd",
        target_of("masked"),
        target_of("masked", depth=1, seed=3),
        mode="released",
        draft_length=length,
        prefill=share,
    )
    result = pipe(class_id=2, seed=0)
    alone = int(CELLS * share) + 1
    ends = {step for step in range(alone, CELLS) if step % length == 0} | {CELLS - 1}
    assert result.nfe == alone + len(ends)
    assert not result.lossless
    origins = {record.origin for record in result.records(0)}
    assert origins <= {"target", "accepted", "regenerated"}


def test_masked_pictures_in_fewer_steps() -> None:
    pipe = paint("cspd-self", target_of("masked"), draft_steps=2, delta=1e9, draft_length=2)
    result = pipe(class_id=[0, 4], seed=0, num_ar_steps=6, batch_size=2)
    assert [len(one.tokens) for one in result.outputs] == [CELLS, CELLS]
    assert sorted(record.place for record in result.records(1)) == list(range(CELLS))


def test_auto_decodes_plainly_and_says_why() -> None:
    result = paint("auto")(class_id=1, seed=0)
    assert result.method == "none"
    assert result.lossless
    assert "auto chose none" in result.notes[0]


@pytest.mark.parametrize(
    ("method", "options", "word"),
    [
        ("scd", {}, "drafts tokens and this model draws latents"),
        ("cspd", {"mode": "fast"}, "one of exact, smoothed"),
        ("cspd", {"delta": -1}, "delta must be"),
        ("cspd", {"mode": "exact", "delta": 1.0}, "mode 'exact' has no option delta"),
        ("cspd", {"prefill": 1.0}, "prefill"),
        ("cspd-self", {"mode": "stepwise"}, "stepwise"),
        ("cspd-self", {"mode": "released"}, "released"),
        ("cspd", {"mode": "published", "draft_steps": 2}, "every denoising step"),
        ("cspd-self", {"draft_steps": 9, "strict": True}, "draft_steps"),
    ],
)
def test_wrong_methods_and_options_are_refused(method: str, options: dict, word: str) -> None:
    options = {"strict": True, **options}
    with pytest.raises((ValueError, RuntimeError), match=word):
        mmspec.pipeline(
            "image",
            target_of(),
            method=method,
            drafter=target_of(depth=1) if method == "cspd" else None,
            **options,
        )(class_id=1)


def test_a_drafter_of_another_family_is_refused() -> None:
    with pytest.raises(ValueError, match="kind: causal and masked"):
        paint("cspd", drafter=target_of("masked"))
    other = target_of()
    other.vae.model.register_to_config(scaling_factor=0.5)
    with pytest.raises(ValueError, match="scale of the autoencoder"):
        paint("cspd", drafter=other)


def test_a_method_over_vectors_needs_a_model_of_vectors() -> None:
    method = catalog.get("cspd", "image")
    with pytest.raises(ValueError, match=r"methods that fit: none, sjd, scd"):
        method.check_target(SimpleNamespace(units="tokens"))


@pytest.mark.parametrize(
    ("done", "aligned", "plain"),
    [(0, 0, 0), (2, 0, 4), (3, 2, 4), (5, 4, 4), (9, 4, 4), (13, 4, 4), (15, 2, 4)],
)
def test_windows_begin_behind_the_prefill(done: int, aligned: int, plain: int) -> None:
    """Aligned ones end at steps 4, 8, 12 and the last, 16."""
    state = SimpleNamespace(new_lengths=[done], steps=17)
    for way, length in ((True, aligned), (False, plain)):
        pacer = Prefilled(Fixed(Plan(4)), share=0.125, aligned=way)
        assert pacer.plan(state).length == length


def test_pictures_of_a_batch_may_stand_far_apart() -> None:
    """The drafter's context has room for drafts behind the end of the picture that is ahead."""
    pipe = paint("cspd", drafter=target_of(depth=1, seed=3), delta=4e4, draft_length=6, prefill=0)
    result = pipe(class_id=[0, 1, 2, 3, 4, 0], seed=0, batch_size=6)
    rounds = {max(record.round for record in row) for row in result.trace.units}
    assert len(rounds) > 1
    assert all(len(one.tokens) == CELLS for one in result.outputs)
