"""Scenes and cameras: one scene through two sensors, and the blur of a lens."""

import numpy as np

from sdcl.synthetic.scene import PANORAMA, SCENES, benchmark_camera, panorama, random_camera, soften


def test_two_sensors_see_one_scene():
    visible, infrared = (
        benchmark_camera((0, i), s, "room", (0, 9)) for i, s in enumerate(("visible", "nir"))
    )
    color, gray = panorama(visible), panorama(infrared)
    assert color.shape == (*PANORAMA, 3) and gray.shape == (*PANORAMA, 1)
    edges = [np.abs(np.diff(image.mean(2), axis=1)) > 25 for image in (color, gray)]
    other = np.abs(np.diff(panorama(benchmark_camera((0, 1), "nir", "room", (0, 8))).mean(2), axis=1)) > 25
    assert (edges[0] & edges[1]).sum() > 3 * (edges[0] & other).sum()


def test_all_scenes_are_drawn_and_read_only():
    images = {scene: panorama(benchmark_camera((1,), "visible", scene)) for scene in SCENES}
    assert len({image.tobytes() for image in images.values()}) == len(SCENES)
    assert not any(image.flags.writeable for image in images.values())


def test_random_cameras_differ():
    cameras = [random_camera((i,), "infrared") for i in range(30)]
    assert len({camera.gamma for camera in cameras}) == 30 and {camera.scene for camera in cameras} == set(
        SCENES
    )


def test_blur_keeps_the_mean():
    image = np.random.default_rng(0).random((20, 12, 3), np.float32)
    blurred = soften(image, 3, 0.2)
    assert np.allclose(blurred.mean((0, 1)), image.mean((0, 1)), atol=1e-6)
    assert blurred.std() < 0.5 * image.std()
