"""Identities: the namespaces of pretraining and benchmark never meet; difficulties differ."""

import pytest

from sdcl.synthetic.person import (
    BENCHMARK,
    DARK,
    INNER,
    LOWER,
    LOWER2,
    PRETRAINING,
    SKIN,
    UPPER,
    UPPER2,
    benchmark_person,
    generator,
    luminance,
    random_person,
)


def test_pretraining_identities_are_never_benchmark_identities():
    seeds = [(*range(n), i) for n in range(4) for i in range(40)] + [
        (BENCHMARK, 0, 0, 0, i) for i in range(40)
    ]
    pretraining, benchmark = (
        [{**vars(draw(seed)), "key": None} for seed in seeds] for draw in (random_person, benchmark_person)
    )
    assert not any(person in benchmark for person in pretraining)


def test_the_length_of_a_seed_counts():
    seeds = ((), (0,), (0, 0), (1,), (1, 0), (2**32,))
    streams = {generator(space, seed).bytes(16) for space in (PRETRAINING, BENCHMARK) for seed in seeds}
    assert len(streams) == 12


def test_a_person_is_a_pure_function_of_seed_and_difficulty():
    assert random_person((3, 4), "hard") == random_person((3, 4), "hard") != random_person((3, 4), "easy")
    with pytest.raises(ValueError, match="difficulty"):
        random_person((3, 4), "mild")


def test_patterns_are_visible_in_both_modalities_and_brightness_does_not_carry_over():
    people = [random_person((i,)) for i in range(60)]
    for person in people:
        for base, second in ((UPPER, UPPER2), (UPPER, INNER), (LOWER, LOWER2)):
            assert abs(luminance(person.visible[base]) - luminance(person.visible[second])) > 0.2
            assert abs(person.nir[base] - person.nir[second]) > 0.15
        assert person.thermal[SKIN] > person.thermal[UPPER] and person.nir[DARK] == 0.1
    pairs = [(luminance(p.visible[UPPER]), p.nir[UPPER]) for p in people]
    brighter = [(a > 0.5) == (b > 0.5) for a, b in pairs]
    assert 0.4 < sum(brighter) / len(brighter) < 0.9  # related, but far from equal
