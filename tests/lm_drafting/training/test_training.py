"""Training: the rollout is what decoding sees, restarts change nothing, and it learns."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from lm_drafting.features.drafter import FeatureDrafter
from lm_drafting.features.network import DraftNetwork
from lm_drafting.features.rotary import Rotary
from lm_drafting.networks import build_network, shape_for
from lm_drafting.storage import load
from lm_drafting.training import trainer as trainer_module
from lm_drafting.training.batch import lesson
from lm_drafting.training.data import Sample, Teacher, own_answers, with_answers
from lm_drafting.training.losses import Objective, list_mle, rounds, score
from lm_drafting.training.recipe import Recipe
from lm_drafting.training.rollout import rollout
from lm_drafting.training.trainer import Trainer, answer, train
from mmspec.files import replace_file
from mmspec.messages import Plan
from mmspec.sampling import Sampling
from mmspec.token_target import Request
from tests.lm_drafting.networks import COMPRESSORS, SlowTree, make_network, real_rows
from tests.lm_drafting.toy import HIDDEN, STOP, ToyTarget, run

QUICK = Recipe(
    steps=40, batch=8, rate=3e-3, warmup=5, held_out=8, max_new_tokens=16, measure_every=20,
    measure_depth=4, save_every=10, log_every=5,
)  # fmt: skip


DRAFTERS = [("eagle", "none"), ("vispec", "queries"), ("specvlm", "elastic"), ("eagle", "pool")]


@pytest.fixture(scope="module")
def target() -> ToyTarget:
    return ToyTarget()


def trained(
    target: ToyTarget,
    samples: list[Sample],
    out: Path,
    recipe: Recipe,
    kind: str = "eagle",
    compressor: str = "none",
    **rest: Any,
) -> DraftNetwork:
    """Train a new network, without a progress bar."""
    values = {**shape_for(target), "compressor": COMPRESSORS[compressor]}
    network: Any = build_network(kind, values)
    network.reset_parameters(torch.Generator().manual_seed(recipe.seed))
    answers = answer(target, samples, out / "answers.jsonl", recipe, progress=False)
    train(target, samples, answers, network, out, recipe, progress=False, **rest)
    return network


def make_samples(count: int) -> list[Sample]:
    generator = torch.Generator().manual_seed(1)
    samples = []
    for index in range(count):
        letters = torch.randint(0, 20, (2 + index % 5,), generator=generator).tolist()
        picture = torch.randn(3, HIDDEN, generator=generator) * 0.02
        samples.append(
            Sample([picture] if index % 2 else [], "".join(chr(65 + letter) for letter in letters))
        )
    return samples


def features_of(target: ToyTarget, samples: list[Sample], cache_mb: float = 0) -> tuple[Any, Any]:
    sampling = Sampling(max_new_tokens=12, stop_ids=(STOP,))
    inputs = target.prepare([s.images for s in samples], [s.prompt for s in samples])
    answers, _ = run(
        target, FeatureDrafter(make_network(), target), Request(inputs, sampling), Plan(1)
    )
    answers = [answer[: answer.index(49)] if 49 in answer else answer for answer in answers]
    return Teacher(target, samples, answers, cache_mb), answers


@pytest.mark.parametrize(("kind", "compressor"), DRAFTERS)
def test_rollout_is_what_decoding_sees(target: ToyTarget, kind: str, compressor: str) -> None:
    """Depth d of the rollout equals d own predictions after a prefix of real rows."""
    network = make_network(kind, compressor=COMPRESSORS[compressor])
    samples = make_samples(4)
    features, _ = features_of(target, samples)
    batch = features.batch(range(4))
    taught = lesson(network, batch)
    predicted = rollout(network, Rotary(network.cache_shape[1], 1e4), taught, 3)
    for row in range(4):
        tokens = batch.ids[row, : batch.lengths[row]].tolist()
        inputs = target.prepare([samples[row].images], [samples[row].prompt])
        rows, positions = real_rows(network, target, inputs, tokens, batch.starts[row])
        removed = len(tokens) - 1 - rows.shape[1]
        summary = None if taught.summary is None else taught.summary[row : row + 1]
        for depth in range(3):
            where = taught.supervised(depth)[row].nonzero().flatten().tolist()
            for slot in where:
                end, pair = slot - depth + 1, slot + removed
                slow = SlowTree(network, target, rows[:, :end], positions[:, :end], summary)
                wanted = slow.logs(tuple(tokens[pair - depth + 2 : pair + 2]))
                mine = target.head(predicted[depth][row, slot]).log_softmax(-1)
                assert torch.allclose(mine, wanted, atol=2e-4)
            assert len(where) == max(len(tokens) - batch.starts[row] - 1 - depth, 0)


@pytest.mark.parametrize(("kind", "compressor"), DRAFTERS)
def test_measured_rounds_are_those_of_the_engine(
    target: ToyTarget, kind: str, compressor: str
) -> None:
    network = make_network(kind, noise=0.02, compressor=COMPRESSORS[compressor])
    samples = make_samples(6)
    features, answers = features_of(target, samples)
    batch = features.batch(range(6))
    rotary = Rotary(network.cache_shape[1], 1e4)
    scores = score(network, rotary, target, batch, Objective(), depth=3)
    real: list[int] = []
    for sample, said in zip(samples, answers, strict=True):
        if not said:
            continue
        asked = Request(
            target.prepare([sample.images], [sample.prompt]), Sampling(max_new_tokens=len(said))
        )
        _, trace = run(target, FeatureDrafter(network, target), asked, Plan(3))
        real += [record.accepted[0] for record in trace.rounds if record.drafted]
    assert len(real) > 10
    assert rounds(scores) == real


class Perfect(DraftNetwork):
    """Returns the target's own hidden states."""

    kind = "perfect"
    compressor = None
    cache_shape = (1, 8)
    row_size = HIDDEN

    def __init__(self, hidden: torch.Tensor) -> None:
        super().__init__()
        self.hidden = hidden

    def fuse(self, embeds: Any, features: Any, summary: Any = None) -> torch.Tensor:
        return embeds

    def forward(self, rows: Any, rope: Any, attend: Any) -> torch.Tensor:
        attend(*(torch.zeros(len(rows), 1, rows.shape[1], 8) for _ in range(3)))
        return self.hidden[:, -rows.shape[1] :]

    def reset_parameters(self, generator: torch.Generator) -> None:
        """Nothing to learn."""


def test_losses_at_their_oracles(target: ToyTarget) -> None:
    """The target's own hidden states: no regression, no distance, entropy H(p)."""
    features, _ = features_of(target, make_samples(4))
    batch = features.batch(range(4))
    network, rotary = Perfect(batch.hidden), Rotary(8, 1e4)
    regression = score(network, rotary, target, batch, Objective(1, 0), depth=2)
    assert float(regression.loss) == 0
    distance = score(network, rotary, target, batch, Objective(0, 0, distance=10), depth=2)
    assert float(distance.loss) == pytest.approx(0, abs=1e-4)
    scores = score(network, rotary, target, batch, Objective(0, 1), depth=2)
    kept = scores.lesson.supervised(0)
    p = target.head(batch.hidden[:, 1:][kept]).softmax(-1)
    entropy = -(p * p.clamp(min=1e-30).log()).sum(-1)
    late = scores.lesson.supervised(1)[kept]
    assert float(scores.loss) == pytest.approx(
        float(entropy.mean() + entropy[late].mean()), rel=1e-4
    )
    assert float(scores.overlap) == pytest.approx(1.0, abs=1e-5)
    assert scores.agreement.tolist() == pytest.approx([1.0, 1.0])


def test_a_drafter_that_is_never_right_has_the_largest_distance(target: ToyTarget) -> None:
    """Laws without common support are 2 apart, so ViSpec's term is bounded by 20."""
    features, _ = features_of(target, make_samples(4))
    batch = features.batch(range(4))
    sharp = ToyTarget(sharp=20000.0)
    network = Perfect(-batch.hidden)
    scores = score(network, Rotary(8, 1e4), sharp, batch, Objective(0, 0, distance=10), depth=1)
    assert float(scores.loss) == pytest.approx(20.0, abs=1e-3)


def test_list_mle_of_equal_logits_is_the_log_of_all_orders() -> None:
    p = torch.rand(3, 20, generator=torch.Generator().manual_seed(0)).softmax(-1)
    for places in (1, 2, 5, 10):
        wanted = torch.full((3,), math.lgamma(places + 1))
        assert torch.allclose(list_mle(torch.zeros(3, 20), p, places), wanted, atol=1e-5)
    right, wrong = p.log() * 50, -p.log() * 50
    assert bool((list_mle(right, p) < list_mle(wrong, p)).all())


def test_cached_features_are_those_made_anew(target: ToyTarget) -> None:
    samples = make_samples(5)
    fresh, _ = features_of(target, samples)
    kept, _ = features_of(target, samples, cache_mb=1)
    small, _ = features_of(target, samples, cache_mb=0.004)
    for indices in ([0, 3], [3, 1, 4], [0, 1, 2, 3, 4]):
        wanted = fresh.batch(indices)
        for other in (kept.batch(indices), small.batch(indices)):
            assert torch.equal(wanted.ids, other.ids)
            assert torch.allclose(wanted.hidden, other.hidden, atol=0.02)
            assert wanted.starts == other.starts
            assert wanted.runs == other.runs
    assert len(kept._kept) == 5
    assert 0 < len(small._kept) < 5


def test_answers_go_behind_prompts_of_either_padding_side() -> None:
    ids = torch.tensor([[0, 1, 5], [1, 6, 7]])
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.tensor([[0, 1, 1], [1, 1, 1]]),
        "mm_token_type_ids": torch.tensor([[0, 1, 0], [1, 1, 0]]),
        "pixel_values": torch.ones(2, 3),
    }
    longer, starts = with_answers(inputs, [[8, 9], [8]])
    assert starts == [2, 3]
    assert longer["input_ids"].tolist() == [[1, 5, 8, 9], [1, 6, 7, 8]]
    assert longer["attention_mask"].tolist() == [[1] * 4, [1] * 4]
    assert longer["mm_token_type_ids"].tolist() == [[1, 0, 0, 0], [1, 1, 0, 0]]
    assert longer["pixel_values"] is not None


def test_answers_are_made_once_and_survive_an_interruption(
    target: ToyTarget, tmp_path: Path
) -> None:
    samples, store = make_samples(6), tmp_path / "answers.jsonl"
    sampling = Sampling(max_new_tokens=8, temperature=1.0)
    first = own_answers(target, samples, store, sampling, batch=2, progress=False)
    lines = store.read_text().splitlines()
    store.write_text("\n".join([*lines[:3], lines[3][:9]]))  # a line cut short
    again = own_answers(target, samples, store, sampling, batch=4, progress=False)
    assert again == first
    before = target.decoder.steps
    assert own_answers(target, samples, store, sampling, progress=False) == first
    assert target.decoder.steps == before


def losses(folder: Path) -> list[tuple[int, float]]:
    rows = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]


@pytest.mark.parametrize(("kind", "compressor"), DRAFTERS)
def test_training_learns_and_leaves_everything_behind(
    target: ToyTarget, tmp_path: Path, kind: str, compressor: str
) -> None:
    recipe = replace(QUICK, steps=80, depth=2, feature_noise=0.05, accumulate=2)
    before = [weight.clone() for weight in target.model.parameters()]
    samples = make_samples(32)
    samples += samples[:8]  # measured on what it learns: a random target teaches nothing general
    trained(target, samples, tmp_path, recipe, kind, compressor, name="toy", data="letters")
    curve = [loss for _, loss in losses(tmp_path)]
    assert sum(curve[-3:]) < 0.9 * sum(curve[:3])
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    held = [row["held_out"]["acceptance_length"] for row in rows if "held_out" in row]
    assert held[-1] > held[0]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "README.md", "answers.jsonl", "checkpoint.pt", "config.json", "curve.png", "log.jsonl",
        "model.safetensors",
    }  # fmt: skip
    assert "letters" in (tmp_path / "README.md").read_text()
    network = load(tmp_path, target)
    asked = Request(target.prepare([[]], ["ABC"]), Sampling(max_new_tokens=20))
    _, trace = run(target, FeatureDrafter(network, target), asked, Plan(3))
    assert trace.acceptance_length > 1.2
    assert all(torch.equal(a, b) for a, b in zip(before, target.model.parameters(), strict=True))
    assert all(weight.grad is None for weight in target.model.parameters())


class KilledError(Exception):
    """Stands in for a kill."""


@pytest.mark.parametrize("cache_mb", [0.0, 64.0])
@pytest.mark.parametrize(("kind", "compressor"), DRAFTERS[:3])
def test_a_killed_run_goes_on_on_the_same_curve(
    target: ToyTarget,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    cache_mb: float,
    kind: str,
    compressor: str,
) -> None:
    recipe = replace(QUICK, cache_features_mb=cache_mb)
    samples = make_samples(30)
    whole = trained(target, samples, tmp_path / "whole", recipe, kind, compressor)
    step = Trainer._step

    def dies(self: Trainer, number: int) -> Any:
        if number == 27:
            raise KilledError
        return step(self, number)

    monkeypatch.setattr(Trainer, "_step", dies)
    with pytest.raises(KilledError):
        trained(target, samples, tmp_path / "killed", recipe, kind, compressor)
    monkeypatch.setattr(Trainer, "_step", step)
    resumed = trained(target, samples, tmp_path / "killed", recipe, kind, compressor)
    curves = [torch.tensor(losses(tmp_path / name)) for name in ("killed", "whole")]
    # Features made in another company of samples differ in their last bits.
    assert torch.allclose(*curves, rtol=2e-4 if cache_mb else 0, atol=0)
    for name, weight in whole.state_dict().items():
        assert torch.allclose(weight, resumed.state_dict()[name], atol=1e-3 if cache_mb else 0)


def test_a_full_disk_leaves_the_last_checkpoint(
    target: ToyTarget, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples, saved = make_samples(20), torch.save
    written = []

    def full(state: Any, path: Path) -> None:
        if len(written) == 2:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        written.append(path)
        saved(state, path)

    monkeypatch.setattr(trainer_module.torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        trained(target, samples, tmp_path, QUICK)
    monkeypatch.undo()
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["step"] == 20
    load(tmp_path, target)
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".new")]
    trained(target, samples, tmp_path, QUICK)


def test_replacing_a_file_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    replace_file(path, lambda fresh: fresh.write_text("one"))

    def fails(fresh: Path) -> None:
        fresh.write_text("tw")
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        replace_file(path, fails)
    assert path.read_text() == "one"
    assert [found.name for found in path.parent.iterdir()] == ["file"]


def test_another_recipe_does_not_continue_a_checkpoint(target: ToyTarget, tmp_path: Path) -> None:
    samples, recipe = make_samples(12), replace(QUICK, steps=2, held_out=4)
    trained(target, samples, tmp_path, recipe)
    with pytest.raises(ValueError, match="rate"):
        trained(target, samples, tmp_path, replace(recipe, rate=1e-4))
    with pytest.raises(ValueError, match="held out"):
        trained(target, samples[:4], tmp_path, recipe)
    with pytest.raises(ValueError, match="at least 1"):
        Recipe(steps=0)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_bfloat16_target_trains_and_runs(tmp_path: Path, bf16: bool) -> None:
    target = ToyTarget(layers=1)
    target.model.to(torch.bfloat16)
    recipe = replace(QUICK, steps=3, held_out=4, bf16=bf16)
    network: Any = trained(target, make_samples(12), tmp_path, recipe)
    assert network.fc.weight.dtype == torch.float32
    loaded: Any = load(tmp_path, target)
    assert loaded.fc.weight.dtype == torch.bfloat16
    asked = Request(target.prepare([[], []], ["ABC", "D"]), Sampling(max_new_tokens=12))
    for plan in (Plan(3), Plan(3, 2, 5)):
        got, _ = run(target, FeatureDrafter(loaded, target), asked, plan)
        assert [len(row) for row in got] == [12, 12]
