"""Average precision against scikit-learn and by hand; which clusters and queries are shown; right and wrong in more than colour."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from sdcl.reporting import grids


def test_average_precision_is_that_of_scikit_learn():
    draw = np.random.default_rng(0)
    similarity, match = draw.normal(size=(20, 30)), draw.random((20, 30)) < 0.2
    keep = draw.random((20, 30)) < 0.8
    match[3] = False
    found = grids.average_precision(similarity, match, keep)
    for i in range(20):
        if (match[i] & keep[i]).any():
            assert found[i] == pytest.approx(average_precision_score(match[i][keep[i]], similarity[i][keep[i]]))
        else:
            assert np.isnan(found[i])


def test_best_median_worst():
    precision = np.array([0.5, np.nan, 0.9, 0.1, 0.4, 0.6])
    assert grids.best_median_worst(precision) == {"Best": 2, "Median": 0, "Worst": 3}
    assert grids.best_median_worst(np.array([np.nan])) == {}


def test_notable_clusters():
    ids = np.array([0] * 5 + [1] * 4 + [2] * 3 + [-1] * 9)
    people = np.array([7] * 5 + [1, 2, 3, 4] + [5] * 3 + [6] * 9)
    cameras = np.array([1] * 5 + [1] * 4 + [1, 2, 3] + [1] * 9)
    assert grids.notable_clusters(ids, people, cameras) == {"Largest": 0, "Least pure": 1, "Most mixed over cameras": 2}
    assert grids.notable_clusters(ids[-9:], people[-9:], cameras[-9:]) == {}
    assert grids.notable_clusters(ids[:5], people[:5], cameras[:5]) == {"Largest": 0}


def tile(right, score=None):
    return grids.Tile(np.zeros((40, 20, 3), np.uint8), 3, 6, right, score)


def test_right_and_wrong_have_a_symbol_and_words():
    html = str(grids.ranked_html("A to B", "said <b>", [grids.Ranked("Best", 0.5, tile(None), [tile(True, 0.75), tile(False, 0.5)])]))
    assert "✓ 1" in html and "✗ 2" in html and "0.75" in html and "cam 6" in html and "said &lt;b&gt;" in html
    assert 'alt="1, person 3, camera 6, same person"' in html and 'alt="2, person 3, camera 6, another person"' in html
    assert html.index("Query") < html.index("✓ 1")


def test_cluster_sheet():
    html = str(grids.clusters_html("Visible", "", [grids.Cluster("Least pure", 9, 4, 0.25, [1, 2], [tile(True), tile(False)])]))
    assert "Least pure: 9 images of 4 people, purity 0.25, cameras 1, 2" in html and "✗" in html
