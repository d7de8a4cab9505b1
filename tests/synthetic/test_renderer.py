"""Rendering: pure, the same pixels on every machine, and no hue in infrared."""

import hashlib

import numpy as np
import pytest

from sdcl.synthetic.person import random_person
from sdcl.synthetic.renderer import render
from sdcl.synthetic.scene import random_camera

SENSORS = (("visible", False), ("infrared", False), ("infrared", True))  # modality, thermal
# Of 48 people by each sensor, 96 x 48.
DIGESTS = {"easy": "27ae8902285fb101", "medium": "14a6eee14f4f83cf", "hard": "6203645b8c8261e8"}


@pytest.mark.parametrize("difficulty", DIGESTS)
def test_pixels_stay_the_same(difficulty):
    digest = hashlib.sha256()
    for i in range(48):
        person = random_person((7, i), difficulty)
        for c, (modality, thermal) in enumerate(SENSORS):
            camera = random_camera((7, i % 9, c), modality, thermal)
            digest.update(render(person, camera, (i, c), difficulty, (96, 48)).tobytes())
    assert digest.hexdigest()[:16] == DIGESTS[difficulty]


@pytest.mark.parametrize(("modality", "thermal"), SENSORS)
def test_render_is_a_pure_function_and_infrared_has_no_hue(modality, thermal):
    person, camera = random_person((5,)), random_camera((1,), modality, thermal)
    image = render(person, camera, (0,), size=(144, 72))
    assert image.shape == (144, 72, 3) and image.dtype == np.uint8 and image.std() > 5
    assert np.array_equal(image, render(person, camera, (0,), size=(144, 72)))
    assert not np.array_equal(image, render(person, camera, (1,), size=(144, 72)))
    assert (np.ptp(image, axis=2).max() == 0) == (camera.modality == "infrared")


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="difficulty"):
        render(random_person((5,)), random_camera((1,), "visible"), (0,), difficulty="mild")
    with pytest.raises(ValueError, match="modality"):
        random_camera((1,), "thermal")
