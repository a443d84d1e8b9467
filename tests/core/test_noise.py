"""Numbers depend on (seed, stream, position) and on nothing else."""

from __future__ import annotations

import torch

from mmspec.noise import Noise, seeds_from

POSITIONS = torch.arange(300).expand(2, -1)


def test_same_question_same_answer() -> None:
    noise = Noise([3, 4], horizon=300)
    first = noise.at("target", POSITIONS)
    assert torch.equal(first, noise.at("target", POSITIONS))
    assert torch.equal(first, Noise([3, 4], horizon=300).at("target", POSITIONS))
    assert first.min() >= 0
    assert first.max() < 1


def test_a_row_depends_on_its_own_seed_only() -> None:
    both = Noise([3, 4], horizon=300).at("target", POSITIONS)
    alone = Noise([4], horizon=300).at("target", POSITIONS[:1])
    assert torch.equal(both[1], alone[0])
    fresh = Noise([3, 4])
    alone = Noise([4])
    for count in (3, 1, 5):
        assert torch.equal(fresh.fresh("accept", count)[1], alone.fresh("accept", count)[0])


def test_later_numbers_do_not_depend_on_how_many_were_used() -> None:
    few, many = Noise([3]), Noise([3])
    for count in (1, 7, 20):
        short = few.fresh("accept", count)
        assert torch.equal(many.fresh("accept", 40)[:, :count], short)


def test_a_longer_horizon_extends_a_shorter_one() -> None:
    short = Noise([7], horizon=100).at("target", POSITIONS[:1, :256])
    long = Noise([7], horizon=1000).at("target", POSITIONS[:1, :256])
    assert torch.equal(short, long)


def test_beyond_the_horizon_nothing_breaks() -> None:
    assert Noise([7], horizon=10).at("target", torch.tensor([[5, 10_000]])).shape == (1, 2)


def test_streams_are_apart() -> None:
    noise = Noise([3, 4], horizon=300)
    target, draft = noise.at("target", POSITIONS), noise.at("draft", POSITIONS)
    assert not torch.isclose(target, draft).any()
    before = Noise([1]).fresh("accept", 4)
    other = Noise([1])
    other.fresh("draft", 9)
    assert torch.equal(other.fresh("accept", 4), before)


def test_fresh_numbers_are_never_repeated() -> None:
    noise = Noise([3])
    numbers = torch.cat([noise.fresh("accept", 50) for _ in range(20)], dim=1)
    assert numbers.unique().numel() == 1000


def test_seeds_that_differ_in_high_bits_differ() -> None:
    """Torch's CPU generator ignores everything above 32 bits of its seed."""
    seeds = [5, 5 + 2**32, 5 + 2**40, 5 + 2**61]
    numbers = Noise(seeds).fresh("accept", 4)
    assert numbers.unique(dim=0).shape[0] == 4


def test_neighbouring_seeds_are_unrelated() -> None:
    numbers = Noise(list(range(4000))).fresh("accept", 4)
    assert (numbers.mean(0) - 0.5).abs().max() < 0.02
    assert numbers.T.corrcoef().fill_diagonal_(0).abs().max() < 0.06
    lagged = torch.stack([numbers[:-1, 0], numbers[1:, 0]]).corrcoef()[0, 1]
    assert abs(float(lagged)) < 0.06


def test_seeds_come_from_the_generator_given() -> None:
    first = seeds_from(torch.Generator().manual_seed(1), 5)
    generator = torch.Generator().manual_seed(1)
    assert seeds_from(generator, 5) == first
    assert seeds_from(generator, 5) != first
    assert len(seeds_from(None, 3)) == 3


def test_normals_belong_to_their_place() -> None:
    """Neither the batch, nor the places asked for, nor the horizon changes them."""
    places = torch.tensor([[[3], [0], [-1]], [[1], [3], [2]]])
    both = Noise([5, 6], horizon=4).normals("denoise", places, (2, 3))
    assert both.shape == (2, 3, 1, 2, 3)
    alone = Noise([6], horizon=64).normals("denoise", places[1:], (2, 3))
    assert torch.equal(both[1:], alone)
    assert torch.equal(
        both[1, 1], Noise([6], horizon=9).normals("denoise", places[1:], (2, 3))[0, 1]
    )
    assert not torch.equal(both[0, 0], both[1, 1])
    assert torch.equal(both[0, 2], both[0, 1])


def test_normals_are_normal_and_unrelated() -> None:
    places = torch.arange(500).view(1, -1)
    numbers = Noise([1], horizon=500).normals("denoise", places, (40,))[0]
    assert abs(float(numbers.mean())) < 0.03
    assert abs(float(numbers.std()) - 1) < 0.03
    assert numbers.corrcoef().fill_diagonal_(0).abs().mean() < 0.15
    uniforms = Noise([1], horizon=500).uniforms("accept", places.view(1, 20, 25))
    assert torch.equal(uniforms.flatten(1), Noise([1], horizon=500).at("accept", places))
