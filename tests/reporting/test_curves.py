"""Charts from rows: which there are, their text, that values of other kinds do no harm."""

import base64
import xml.etree.ElementTree as ElementTree

from sdcl.analysis.published_curves import COUNTS, CURVES
from sdcl.reporting import curves


def rows():
    made = []
    for epoch in range(4):
        about = {"clusters": 10 + epoch, "outliers": 4, "true_identities": 12, "ari": 0.5, "churn": 0.1}
        test = [
            {
                "protocol": "SYSU-MM01 all-search single-shot, 10 seeded draws",
                "direction": "i to v",
                "R1": 10.0 + epoch,
                "mAP": 9.0,
            }
        ]
        losses = {"cluster_visible_deep": 2.0 - epoch, "cluster_infrared_deep": 1.0, "neighbor_a": 0.5}
        losses |= {f"cameras_{i}/cluster": float(i) for i in range(9)}
        stage = ["one", "two"] if epoch > 1 else "one"
        labels = {"visible": about, "infrared_joint": about, "odd": 3}
        made.append(
            {
                "epoch": epoch,
                "stage": stage,
                "lr": 0.1,
                "loss": 2.0,
                "losses": losses,
                "labels": labels,
                "test": test,
            }
        )
        made[-1]["seconds"] = {"train": 3.0, "reading": 1.0}
    return made


def svg(drawn):
    kind, _, data = drawn.uri.partition(",")
    assert kind == "data:image/svg+xml;base64"
    return ElementTree.fromstring(base64.b64decode(data))


def test_losses_are_grouped_by_their_first_word():
    drawn = curves.loss_charts(rows())
    assert [d.alt.split(" over")[0] for d in drawn] == [
        "Loss",
        "Loss terms: cluster",
        "Loss terms: neighbor",
        "Loss terms: cameras",
    ]
    assert "cluster_visible_deep from 2 at epoch 0 to -1 at epoch 3" in drawn[1].alt
    for d in drawn:
        svg(d)


def test_every_number_about_labels_is_a_chart():
    drawn = curves.label_charts(rows(), {})
    assert len(drawn) == 4 and "churn" in drawn[-1].alt  # true_identities is a level, not a chart
    assert "infrared_joint" in drawn[0].alt
    for radii, charts in (([0.5] * 4, 4), ([0.5, 0.55, 0.5, 0.5], 5)):
        made = rows()
        for row, eps in zip(made, radii):
            row["labels"]["visible"] = row["labels"]["visible"] | {"eps": eps}
        assert (
            len(curves.label_charts(made, {})) == charts
        )  # a radius that never moved is a setting, not a curve
    assert drawn[-1].alt.startswith("Label churn: 1 − ARI to the previous epoch over epochs")


def count_points(drawn):
    return sum(1 for e in svg(drawn).iter() if e.tag.endswith("}use"))


def test_published_points_are_drawn_where_they_are_given():
    (plain,), (behind,) = (curves.metric_charts(rows(), p) for p in ({}, CURVES["sdcl", "sysu"]))
    assert "released" not in plain.caption and "released training log" in behind.caption
    assert count_points(behind) >= count_points(plain) + 10
    assert "released" in curves.label_charts(rows(), COUNTS["sdcl", "sysu"])[0].caption


def test_time_and_rate():
    (bar,) = curves.time_chart(rows())
    assert "train 75%" in bar.alt and "reading 25%" in bar.alt and "16 seconds" in bar.caption
    assert len(curves.rate_chart(rows())) == 1


def test_rows_without_anything_give_nothing():
    empty = [
        {"epoch": 0},
        {
            "epoch": 1,
            "losses": None,
            "labels": [],
            "test": {},
            "seconds": {"a": "b"},
            "loss": float("nan"),
            "lr": "x",
        },
    ]
    made = (
        curves.loss_charts(empty),
        curves.metric_charts(empty, {}),
        curves.label_charts(empty, {}),
        curves.time_chart(empty),
    )
    assert made == ([], [], [], []) and curves.rate_chart(empty) == []


def test_hostile_names_stay_text():
    name = "<script>alert(1)</script>$x_{"
    drawn = curves.loss_charts(
        [
            {"epoch": 0, "stage": "a", "losses": {name: 1.0}},
            {"epoch": 1, "stage": "<b>$", "losses": {name: 1.0}},
        ]
    )
    assert not any(e.tag.endswith("script") for e in svg(drawn[0]).iter())


def test_runs_of_several_groups_lie_over_one_another():
    lines = {"run 1": {0: 10.0, 1: 20.0}, "run 2": {0: 12.0, 1: 22.0}, "run 3": {0: 5.0}}
    drawn = curves.runs_chart(lines, {"run 1": 0, "run 2": 0, "run 3": 1}, "R1", "protocol")
    assert "run 2 from 12 at epoch 0 to 22 at epoch 1" in drawn.alt and drawn.caption == "protocol"
    assert set(curves.label_series(rows())) == {"clusters", "outliers", "true_identities", "ari", "churn"}
    svg(drawn)
