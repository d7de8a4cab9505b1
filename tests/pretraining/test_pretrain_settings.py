"""Settings of pretraining: bounds, and what may differ when a run is continued."""

import pytest

from sdcl.pretraining.settings import OBJECTIVES, UNRECORDED, PretrainSettings, parse
from sdcl.runtime.errors import SettingError


@pytest.mark.parametrize(
    "flags",
    [
        ["--people", "3"],  # fewer than the tracks of a camera
        ["--lr", "0"],
        ["--temperature", "0"],
        ["--batch-size", "0"],
        ["--frozen", "2"],
        ["--prototypes", "1"],
        ["--jobs", "0"],
        ["--mean", "0.5", "0.5", "0.5"],  # without --std
        ["--std", "0.5", "0", "0.5", "--mean", "0.5", "0.5", "0.5"],
    ],
)
def test_values_out_of_bounds_are_refused(flags):
    with pytest.raises(SettingError, match=flags[0]):
        parse(["--out", "w", *flags], "")


def test_out_is_required():
    with pytest.raises(SettingError, match="--out"):
        parse([], "")


def test_flags_reach_their_settings():
    settings = parse(["--out", "w", "--images", "a", "b", "--lr", "0.5", "--objective", OBJECTIVES[1]], "")
    assert settings == PretrainSettings(out="w", images=("a", "b"), lr=0.5, objective="dino")


def test_only_paths_and_speed_may_differ_from_a_checkpoint():
    assert {"out", "device", "jobs", "save_every", "probe_every", "cache_dir"} == UNRECORDED
