"""The page of several trials: every number, mean and deviation, what differs, what is not there."""

import re
from pathlib import Path

from sdcl.reporting import page_trials as trials
from sdcl.reporting.run_record import Record


def trial(number, r1, *, tested=True, **settings):
    names = ("visible to thermal", "thermal to visible")
    results = [
        {"protocol": "RegDB", "direction": d, "R1": r1 + i, "R5": 60.0, "R10": 70.0, "R20": 80.0, "mAP": 40.0} for i, d in enumerate(names)
    ]
    own = {"method": "sdcl", "dataset": "regdb", "arch": "vit_base", "seed": 1, "trial": number, "eps": 0.3, **settings}
    labels = {m: {"clusters": 200 + number, "true_identities": 206, "churn": 0.1 * number} for m in ("visible", "infrared")}
    rows = [{"epoch": e, "stage": "contrast", "loss": 1.0, "labels": labels, "test": results, "seconds": {"train": 1800}} for e in (0, 1)]
    return Record(Path(f"r/trial_{number}"), f"r/trial_{number}", own, {}, rows, results if tested else [], "test.json")


def words_of(page):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", re.sub(r'src="[^"]*"', "", page)))


def test_every_trial_and_their_mean():
    page = trials.trials_page("sdcl_regdb", [trial(1, 80.0), trial(2, 82.0), trial(3, 84.0)])
    words = words_of(page)
    for part in ("Trials of sdcl_regdb", "trial 1 80.00 60.00", "mean ± std 82.00 ± 2.00", "mean ± std 83.00 ± 2.00", "3 trials"):
        assert part in words, part
    assert "40.00 – trial 2" in words and "nan" not in words  # none of these rows holds an mINP
    assert page.count("<img") == 2 * 2 + 2 * 2  # R1 and mAP of two directions; clusters and churn of two modalities
    assert "3.00 hours in all" in words and "same settings" not in words and 'href="trial_1' not in page


def test_what_differs_is_said_beside_a_mean_of_it():
    words = words_of(trials.trials_page("x", [trial(1, 80.0), trial(2, 82.0, eps=0.5)]))
    assert "not trained with the same settings" in words and "eps: r/trial_1 0.3, r/trial_2 0.5" in words


def test_a_trial_without_a_test_is_not_counted():
    words = words_of(trials.trials_page("x", [trial(1, 80.0), trial(2, 82.0, tested=False)]))
    assert "1 trial" in words and "mean ± std 80.00" in words
    assert "None of these trials was tested" in words_of(trials.trials_page("x", [trial(1, 80.0, tested=False)]))


def test_hostile_names_stay_text():
    page = trials.trials_page("<b>x", [trial(1, 80.0, arch="<script>")])
    assert "<b>x" not in page and "<script" not in page
