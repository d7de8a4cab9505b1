"""Objectives: their batches, schedules, and that their losses go down."""

import numpy as np
import pytest
import torch

from sdcl.models.factory import single_stem_backbone
from sdcl.pretraining.crops import RenderSettings, rendered_identities, rendered_tracks
from sdcl.pretraining.objectives import DINO, IdentityClassification, TrackContrast, ViewAugmentation
from sdcl.runtime.errors import SettingError

CPU = torch.device("cpu")
RENDERING = RenderSettings(1, "easy", (32, 16))
WEAK = ViewAugmentation(0.2, 0.0, 2)


def tracks_of(cameras, tracks, frames, identities):
    return rendered_tracks(RENDERING, cameras, tracks, frames, identities, jobs=1, device=CPU)


def train(objective, crops, steps):
    """The losses of some steps of AdamW."""
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=1e-3)
    losses = []
    for step in range(steps):
        loss = objective(*objective.sample_batch(crops, 0.0, (1, step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_a_batch_of_tracks(monkeypatch):
    """Pairs of frames of one track in succession, tracks of one camera together, no track twice."""
    crops = tracks_of(3, 4, 2, 6)
    objective = TrackContrast(single_stem_backbone("vit_mini", 32, 16), crops, WEAK, 12, 2, 0.1)
    batches = []

    def record(self, crops, indices, progress, seed):
        batches.append(indices)
        return torch.zeros(len(indices), 3, 32, 16)

    monkeypatch.setattr(ViewAugmentation, "__call__", record)
    _, counts = objective.sample_batch(crops, 0.5, (1, 2))
    indices = batches[0]
    assert counts.tolist() == [3, 3]
    assert (crops.track[indices[::2]] == crops.track[indices[1::2]]).all()
    assert (indices[::2] != indices[1::2]).all()
    assert [len(set(crops.camera[part])) for part in np.split(indices, 2)] == [1, 1]
    assert len(set(crops.track[indices])) == 6


def test_half_of_the_views_are_gray_and_seeds_decide():
    crops = tracks_of(2, 8, 2, 20)
    indices = np.flatnonzero(crops.camera == 0)  # visible
    first, again, other = (WEAK(crops, indices, 0.5, (seed,)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    gray = (first.amax(1) - first.amin(1)).amax((1, 2)) == 0  # exchanged channels
    assert 0.2 < gray.float().mean() < 0.8


@pytest.mark.long
def test_track_contrast_goes_down():
    torch.manual_seed(0)
    crops = tracks_of(2, 6, 3, 12)
    objective = TrackContrast(single_stem_backbone("vit_mini", 32, 16), crops, WEAK, 24, 2, 0.1)
    losses = train(objective, crops, 40)
    assert np.mean(losses[-5:]) < 0.7 * np.log(11)  # chance among 12 frames


@pytest.mark.long
def test_identity_classification_goes_down():
    torch.manual_seed(0)
    crops = rendered_identities(RENDERING, range(4), "visible", 6, 3, jobs=1, device=CPU)
    objective = IdentityClassification(single_stem_backbone("vit_mini", 32, 16), crops, WEAK, 24)
    losses = train(objective, crops, 25)
    assert np.mean(losses[-5:]) < 0.7 * np.log(4)


def test_identity_classification_needs_labels():
    with pytest.raises(SettingError, match="--objective identity"):
        IdentityClassification(single_stem_backbone("vit_mini", 32, 16), tracks_of(2, 2, 1, 4), WEAK, 4)


def make_dino(crops, momentum=0.9, frozen=0.02):
    torch.manual_seed(0)
    return DINO(single_stem_backbone("vit_mini", 32, 16), crops, WEAK, 4, 1, 16, momentum, frozen)


def test_dino_teacher_follows_the_student():
    crops = tracks_of(2, 4, 2, 6)
    dino = make_dino(crops)
    weight, before = dino.heads["class"].mlp[0].weight, dino.teacher["heads"]["class"].mlp[0].weight.clone()
    assert torch.equal(weight, before)
    train(dino, crops, 1)
    dino.after_step(0.0)
    after = dino.teacher["heads"]["class"].mlp[0].weight
    assert torch.allclose(after, before + 0.1 * (weight - before), atol=1e-7)
    assert dino.center.abs().sum() > 0
    dino.after_step(1.0)  # momentum 1 at the end
    assert torch.equal(dino.teacher["heads"]["class"].mlp[0].weight, after)


def test_dino_views():
    crops = tracks_of(2, 4, 2, 6)
    views, local = make_dino(crops).sample_batch(crops, 0.0, (1, 2))
    assert views.shape == (8, 3, 32, 16) and local.shape[:2] == (4, 3)
    assert local.shape[2] < 32


def test_dino_loss_against_the_formula():
    """Cross-entropy of the teacher's centred, sharpened output with the student's for the other views."""
    crops = tracks_of(2, 4, 2, 6)
    dino = make_dino(crops).eval()
    dino.center.copy_(torch.randn(2, 16, generator=torch.Generator().manual_seed(1)))
    views, local = dino.sample_batch(crops, 0.0, (1, 2))
    total, terms = 0.0, 0
    with torch.no_grad():
        loss = float(dino(views, local))
        for i, name in enumerate(("class", "patches")):
            outputs = []
            for images in (*views.chunk(2), local):
                tokens = dino.backbone.tokens(images)
                features = tokens[:, 0] if name == "class" else tokens[:, 1:].mean(1)
                outputs.append(dino.heads[name](features))  # the teacher is still equal to the student
            for t in range(2):
                target = ((outputs[t] - dino.center[i]) / 0.04).softmax(1)
                for s in range(3):
                    if s != t:
                        total += float(-(target * (outputs[s] / 0.1).log_softmax(1)).sum(1).mean())
                        terms += 1
    assert loss == pytest.approx(total / terms, rel=1e-4)
