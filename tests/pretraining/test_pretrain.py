"""The starting weight: made by the command, without labels but for the objective named so, continued when stopped, readable by the model."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from sdcl.models.factory import build_model
from sdcl.models.pretrained import ASSETS
from sdcl.models.weight_formats import load_weights
from sdcl.pretraining import pretrain as pretrain_module
from sdcl.pretraining.crops import Drawing, folder_crops, rendered_tracks
from sdcl.pretraining.objectives import Looks, Tracks
from sdcl.pretraining.pretrain import main

SMALL = (
    "--height 32 --width 16 --people 6 --tracks 4 --frames 2 --cameras 4 --images-per-person 3 --iters 4 --batch-size 8 --jobs 1 "
    "--cameras-per-batch 2 --local-crops 1 --prototypes 16 --device cpu --probe-every 0"
).split()


def note_of(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["sdcl.pretrain"])


@pytest.mark.parametrize("objective", ["tracks", "dino", "identity"])
def test_the_command_writes_a_weight_that_loads(tmp_path, objective):
    out = tmp_path / "w.safetensors"
    assert main(["--out", str(out), "--objective", objective, *SMALL]) == 0
    assert load_weights(build_model("vit_mini", height=32, width=16), out).share == 1.0
    note = note_of(out)
    assert note["objective"] == objective and note["people"] == 6
    assert set(note["probe_rank1"]) == {"visible->visible", "infrared->infrared", "infrared->visible"}
    assert not list(tmp_path.glob("*.unfinished"))


@pytest.mark.parametrize("objective", ["tracks", "dino"])
def test_a_stopped_run_continues_to_the_same_bits(tmp_path, objective, monkeypatch, capsys):
    flags = ["--objective", objective, *SMALL, "--save-every", "2"]
    assert main(["--out", str(tmp_path / "whole"), *flags]) == 0

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pretrain_module, "write", stop)
        with pytest.raises(KeyboardInterrupt):  # after all steps: the checkpoint on disk is of step 2
            main(["--out", str(tmp_path / "stopped"), *flags])
    assert (tmp_path / "stopped.unfinished").is_file()
    assert main(["--out", str(tmp_path / "stopped"), *flags, "--lr", "1e-4"]) == 2
    assert "lr" in capsys.readouterr().err
    assert main(["--out", str(tmp_path / "stopped"), *flags]) == 0
    assert "continued from step 2" in capsys.readouterr().out
    whole, stopped = load_file(tmp_path / "whole"), load_file(tmp_path / "stopped")
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


def test_one_objective_after_another(tmp_path, capsys):
    first, then = tmp_path / "first.safetensors", tmp_path / "then.safetensors"
    assert main(["--out", str(first), "--objective", "identity", *SMALL]) == 0
    assert main(["--out", str(then), "--init", str(first), *SMALL, "--lr", "1e-9", "--weight-decay", "0"]) == 0
    assert (note_of(then)["objective"], note_of(then)["after"]["objective"]) == ("tracks", "identity")
    before, after = load_file(first), load_file(then)
    assert all(torch.allclose(before[k].float(), after[k].float(), atol=1e-3) for k in before if "BN" not in k and "conv.7" not in k)
    assert main(["--out", str(then), "--init", str(first), *SMALL, "--height", "64"]) == 2
    assert "--init" in capsys.readouterr().err


def crops_on_disk(root, tracks=3, frames=2):
    rng = np.random.default_rng(0)
    for camera in ("a", "b"):
        for track in range(tracks):
            folder = root / camera / f"track {track}"
            folder.mkdir(parents=True)
            for frame in range(frames):
                Image.fromarray(rng.integers(0, 255, (40, 20, 3), dtype=np.uint8)).save(folder / f"{frame}.png")


@pytest.mark.parametrize("objective", ["tracks", "dino"])
def test_crops_of_ones_own(tmp_path, objective):
    crops_on_disk(tmp_path / "crops")
    flags = ["--images", str(tmp_path / "crops"), "--objective", objective, *SMALL, "--cache-dir", str(tmp_path / "cache")]
    assert main(["--out", str(tmp_path / "w"), *flags]) == 0
    assert note_of(tmp_path / "w")["crops"] == 12


def test_cameras_and_tracks_of_folders(tmp_path):
    crops_on_disk(tmp_path / "crops")
    Image.new("RGB", (20, 40)).save(tmp_path / "crops" / "a" / "alone.jpg")
    Image.new("RGB", (20, 40)).save(tmp_path / "crops" / "flat.jpg")
    crops = folder_crops([str(tmp_path / "crops")], 32, 16, tmp_path / "cache", torch.device("cpu"), 1)
    assert np.bincount(crops.camera).tolist() == [1, 7, 6]  # what lies in DIR itself, a, b
    assert sorted(np.bincount(crops.track)) == [1, 1, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["--images", "nowhere"], "--images nowhere"),
        (["--arch", "resnet50"], "--arch resnet50"),
        (["--people", "3"], "--people 3"),
        (["--lr", "0"], "--lr"),
        (["--batch-size", "0"], "--batch-size"),
        (["--frozen", "2"], "--frozen"),
    ],
)
def test_refusals(tmp_path, capsys, flags, word):
    assert main(["--out", str(tmp_path / "w"), *SMALL, *flags]) == 2
    assert word in capsys.readouterr().err


def test_labels_are_for_rendered_people_only(tmp_path, capsys):
    crops_on_disk(tmp_path / "crops")
    assert main(["--out", str(tmp_path / "w"), *SMALL, "--images", str(tmp_path / "crops"), "--objective", "identity"]) == 2
    assert "--objective identity" in capsys.readouterr().err


def test_a_batch_of_tracks():
    """Pairs of frames of one track side by side, tracks of one camera together, no track twice."""
    crops = rendered_tracks(Drawing(1, "easy", (32, 16)), cameras=3, tracks=4, frames=2, people=6, jobs=1, device=torch.device("cpu"))
    assert crops.person is None
    model = pretrain_module.single_stem_backbone("vit_mini", 32, 16)
    seen = []
    looks = Looks(0.0, 0.0, 2)
    objective = Tracks(model, crops, looks, batch_size=12, cameras=2, temperature=0.1)
    object.__setattr__(looks, "views", lambda crops, rows, done, seed: seen.append(rows) or torch.zeros(len(rows), 3, 32, 16))
    _, counts = objective.draw(crops, 0.5, (1, 2))
    rows = seen[0]
    assert counts.tolist() == [3, 3] and (crops.track[rows[::2]] == crops.track[rows[1::2]]).all() and (rows[::2] != rows[1::2]).all()
    assert [len(set(crops.camera[part])) for part in np.split(rows, 2)] == [1, 1] and len(set(crops.track[rows])) == 6


def test_dino_schedules():
    """The prototypes stay for the first share of the steps; weight decay grows along half a cosine and leaves vectors alone."""
    settings = pretrain_module.parse(["--out", "w", "--objective", "dino", *SMALL, "--iters", "100", "--frozen", "0.02"])
    crops = rendered_tracks(Drawing(1, "easy", (32, 16)), cameras=2, tracks=4, frames=2, people=6, jobs=1, device=torch.device("cpu"))
    objective = pretrain_module.make_objective(settings, pretrain_module.single_stem_backbone("vit_mini", 32, 16), crops, 1)
    matrices, vectors = pretrain_module.parameter_groups(settings, objective)
    teacher = sum(1 for p in objective.teacher.parameters())
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(objective.parameters())) - teacher
    optimizer = torch.optim.AdamW([matrices, vectors], lr=1e-3)
    at = [objective.heads["class"].prototypes.clone()]
    for step in range(3):
        pretrain_module.schedule(settings, optimizer, step)
        loss = objective(*objective.draw(crops, step / 100, (1, step)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        objective.before_step(step / 100)
        optimizer.step()
        at.append(objective.heads["class"].prototypes.detach().clone())
    assert torch.equal(at[0], at[2]) and not torch.equal(at[2], at[3])
    for step, decay in ((0, 0.05), (50, 0.225), (100, 0.4)):
        pretrain_module.schedule(settings, optimizer, step)
        assert [g["weight_decay"] for g in optimizer.param_groups] == pytest.approx([decay, 0.0])


def test_tracks_are_told_apart_after_a_few_steps():
    """The objective can be learnt: its loss on a fixed small set falls clearly below chance."""
    torch.manual_seed(0)
    crops = rendered_tracks(Drawing(1, "easy", (32, 16)), cameras=2, tracks=6, frames=3, people=12, jobs=1, device=torch.device("cpu"))
    objective = Tracks(
        pretrain_module.single_stem_backbone("vit_mini", 32, 16), crops, Looks(0.2, 0.0, 2), batch_size=24, cameras=2, temperature=0.1
    )
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-3)
    losses = []
    for step in range(40):
        loss = objective(*objective.draw(crops, 0.0, (1, step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.7 * np.log(11)


@pytest.mark.parametrize(
    ("name", "objective", "seconds", "within"),
    [("vit_mini", "tracks", 1035, (0.89, 0.79)), ("vit_mini_identity", "identity", 1189, (0.83, 0.56))],
)
def test_shipped_weights(name, objective, seconds, within):
    path = ASSETS / f"{name}.safetensors"
    assert path.stat().st_size <= 8 * 2**20
    model = build_model("vit_mini", height=96, width=48)
    assert load_weights(model, path).share == 1.0
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())
    note = note_of(path)
    assert note["objective"] == objective and note["seconds"] == seconds
    assert [note["probe_rank1"][f"{m}->{m}"] for m in ("visible", "infrared")] == pytest.approx(within, abs=0.005)
