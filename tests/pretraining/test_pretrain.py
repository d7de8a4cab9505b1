"""`sdcl pretrain`: weights that load, resuming to the same bits, one objective after another, refusals."""

import json

import pytest
import torch
from helpers import raw_trees
from helpers.crops import write_crops
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from sdcl.data.normalization import CLIP, IMAGENET, to_metadata
from sdcl.datasets import open_dataset
from sdcl.models.factory import build_model, single_stem_backbone
from sdcl.models.pretrained import ASSETS
from sdcl.models.weight_formats import load_weights
from sdcl.pretraining import run, weights
from sdcl.pretraining.crops import RenderSettings, rendered_tracks
from sdcl.pretraining.pretrain import main
from sdcl.pretraining.settings import parse
from sdcl.runtime.errors import CheckpointError, SettingError
from sdcl.runtime.program import STOPPED

SMALL = """--height 32 --width 16 --people 6 --cameras 4 --iters 4 --batch-size 8 --jobs 1 --device cpu
    --probe-every 0""".split()
OF_TRACKS = "--cameras-per-batch 2".split()
OF_DINO = "--local-crops 1 --prototypes 16".split()
RENDERED = "--tracks 4 --frames 2".split()
OWN = {
    "tracks": [*OF_TRACKS, *RENDERED],
    "dino": [*OF_DINO, *RENDERED],
    "identity": ["--images-per-person", "3"],
}
TRACKS, DINO, IDENTITY = (["--objective", name, *SMALL, *own] for name, own in OWN.items())
ALL = {"tracks": TRACKS, "dino": DINO, "identity": IDENTITY}


def metadata_of(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["sdcl.pretrain"])


@pytest.mark.parametrize("objective", ["tracks", "dino", "identity"])
def test_the_command_writes_weights_that_load(tmp_path, objective):
    out = tmp_path / "w.safetensors"
    assert main(["--out", str(out), *ALL[objective]]) == 0
    report = load_weights(build_model("vit_mini", height=32, width=16), out)
    assert report.share == 1.0 and report.stated and report.normalization == IMAGENET
    about = metadata_of(out)
    assert about["objective"] == objective and about["people"] == 6
    assert set(about["probe_rank1"]) == {"visible->visible", "infrared->infrared", "infrared->visible"}
    assert not list(tmp_path.glob("*.unfinished"))


def test_the_pixels_of_an_initial_weight_are_kept(tmp_path):
    """In every view that is drawn, in the probe, and in the file that training starts from."""
    backbone = single_stem_backbone("vit_mini", 32, 16)
    save_file(backbone.state_dict(), tmp_path / "clip.safetensors", to_metadata(CLIP))
    weights.load_initial(backbone, tmp_path / "clip.safetensors")
    settings = parse(["--out", "w", *TRACKS, "--color-jitter", "0", "--erase", "0"], "")
    crops = rendered_tracks(
        RenderSettings(1, "easy", (32, 16)), 2, 4, 2, 6, jobs=1, device=torch.device("cpu")
    )
    objective = run.make_objective(settings, backbone, crops, 1)
    images, _ = objective.sample_batch(crops, 0, (1, 0))
    mean, std = torch.tensor((CLIP.mean, CLIP.std)).view(2, 3, 1, 1)
    black = (-mean / std).expand(3, 1, 1)  # of the padding, in some view unchanged, in some one channel
    assert images.amin() >= black.amin() - 1e-5 and images.amin() == pytest.approx(
        black.amin().item(), abs=1e-5
    )
    weights.write(backbone, tmp_path / "out.safetensors", {})
    report = load_weights(build_model("vit_mini", height=32, width=16), tmp_path / "out.safetensors")
    assert report.normalization == CLIP


def test_chosen_pixels_are_written_and_may_not_contradict_the_initial_weight(tmp_path, capsys):
    first, then = tmp_path / "first.safetensors", tmp_path / "then.safetensors"
    chosen = [str(v) for v in ("--mean", *CLIP.mean, "--std", *CLIP.std)]
    assert main(["--out", str(first), *IDENTITY, *chosen]) == 0
    report = load_weights(build_model("vit_mini", height=32, width=16), first)
    assert report.stated and report.normalization == CLIP
    half = "--mean 0.5 0.5 0.5 --std 0.5 0.5 0.5".split()
    assert main(["--out", str(then), "--init", str(first), *TRACKS, *half]) == 2
    assert "(CLIP), and --mean and --std say" in capsys.readouterr().err
    weights.load_initial(single_stem_backbone("vit_mini", 32, 16), first, CLIP)  # they agree


def test_a_checkpoint_without_newer_settings_continues(tmp_path):
    objective = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(objective.parameters())
    settings = weights.recorded_settings(parse(["--out", "w"], ""))
    state = {"settings": settings, "crops": 1, "step": 3, "seconds": 0.0}
    older = {name: value for name, value in settings.items() if name not in ("mean", "std")}
    weights.save_checkpoint(tmp_path / "w", objective, optimizer, {**state, "settings": older})
    path = tmp_path / "w.unfinished"
    assert weights.resume(path, {**state, "step": 0}, objective, optimizer)["step"] == 3
    state["settings"] = {**settings, "mean": CLIP.mean, "std": CLIP.std}
    with pytest.raises(CheckpointError, match="mean, std"):
        weights.resume(path, state, objective, optimizer)


@pytest.mark.long
@pytest.mark.parametrize("objective", ["tracks", "dino"])
def test_a_stopped_run_continues_to_the_same_bits(tmp_path, objective, monkeypatch, capsys):
    flags = [*ALL[objective], "--save-every", "2"]
    assert main(["--out", str(tmp_path / "whole"), *flags]) == 0

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(weights, "write", stop)
        # after all steps: the checkpoint on disk is of step 2
        assert main(["--out", str(tmp_path / "stopped"), *flags]) == STOPPED
    assert (tmp_path / "stopped.unfinished").is_file()
    assert main(["--out", str(tmp_path / "stopped"), *flags, "--lr", "1e-4"]) == 2
    assert "lr" in capsys.readouterr().err
    assert main(["--out", str(tmp_path / "stopped"), *flags]) == 0
    assert "continued from step 2" in capsys.readouterr().out
    whole, stopped = load_file(tmp_path / "whole"), load_file(tmp_path / "stopped")
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)


@pytest.mark.long
def test_one_objective_after_another(tmp_path, capsys):
    first, then = tmp_path / "first.safetensors", tmp_path / "then.safetensors"
    assert main(["--out", str(first), *IDENTITY]) == 0
    assert (
        main(["--out", str(then), "--init", str(first), *TRACKS, "--lr", "1e-9", "--weight-decay", "0"]) == 0
    )
    assert (metadata_of(then)["objective"], metadata_of(then)["after"]["objective"]) == ("tracks", "identity")
    before, after = load_file(first), load_file(then)
    names = [
        name for name in before if "BN" not in name and "conv.7" not in name
    ]  # statistics of batch norm move
    assert all(torch.allclose(before[name].float(), after[name].float(), atol=1e-3) for name in names)
    assert main(["--out", str(then), "--init", str(first), *TRACKS, "--height", "64"]) == 2
    assert "--init" in capsys.readouterr().err


@pytest.mark.long
@pytest.mark.parametrize("objective", ["tracks", "dino"])
def test_crops_of_folders(tmp_path, objective):
    write_crops(tmp_path / "crops")
    own = {"tracks": OF_TRACKS, "dino": OF_DINO}[objective]
    flags = ["--images", str(tmp_path / "crops"), "--objective", objective, *SMALL, *own]
    assert main(["--out", str(tmp_path / "w"), *flags, "--cache-dir", str(tmp_path / "cache")]) == 0
    assert metadata_of(tmp_path / "w")["crops"] == 12


@pytest.mark.long
def test_tracks_of_a_data_set(tmp_path):
    root = raw_trees.tracks(tmp_path / "vcm", "vcm")
    flags = ["--dataset", "vcm", "--images", str(root), *SMALL, *OF_TRACKS]
    assert main(["--out", str(tmp_path / "w"), *flags, "--cache-dir", str(tmp_path / "cache")]) == 0
    assert metadata_of(tmp_path / "w")["crops"] == sum(map(len, open_dataset("vcm", root).train.values()))


@pytest.mark.parametrize(
    "flags",
    [
        ["--images", "nowhere"],
        ["--arch", "resnet50"],
        ["--init", "nowhere"],
        ["--dataset", "vcm"],
        ["--dataset", "market", "--images", "nowhere"],
    ],
)
def test_refusals(tmp_path, capsys, flags):
    rendered = [] if "--images" in flags else RENDERED
    assert main(["--out", str(tmp_path / "w"), *SMALL, *rendered, *flags]) == 2
    assert flags[1] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "needs"),
    [
        (
            "--objective tracks --local-crops 3",
            "--local-crops .* needs --objective dino, .* has --objective tracks",
        ),
        ("--objective dino --temperature 0.2", "--temperature .* needs --objective tracks"),
        ("--objective identity --frames 3", "--frames .* needs --objective tracks or dino"),
        ("--images-per-person 3", "--images-per-person .* needs --objective identity"),
        ("--images crops --tracks 3", "--tracks .* needs no --images, and this run has --images crops"),
    ],
)
def test_flags_that_the_objective_does_not_read_are_refused(flags, needs):
    with pytest.raises(SettingError, match=needs):
        parse(["--out", "w", *flags.split()], "")


def test_labels_are_for_rendered_crops_only(tmp_path, capsys):
    write_crops(tmp_path / "crops")
    flags = [
        "--images",
        str(tmp_path / "crops"),
        "--objective",
        "identity",
        "--cache-dir",
        str(tmp_path / "cache"),
    ]
    assert main(["--out", str(tmp_path / "w"), *SMALL, *flags]) == 2
    assert "--objective identity" in capsys.readouterr().err


def test_dino_schedules():
    """Frozen prototypes at first; weight decay rises along half a cosine and leaves vectors alone."""
    settings = parse(["--out", "w", *DINO, "--iters", "100", "--frozen", "0.02"], "")
    rendering, cpu = RenderSettings(1, "easy", (32, 16)), torch.device("cpu")
    crops = rendered_tracks(rendering, 2, 4, 2, 6, jobs=1, device=cpu)
    objective = run.make_objective(settings, single_stem_backbone("vit_mini", 32, 16), crops, 1)
    matrices, vectors = run.parameter_groups(settings, objective)
    teacher = sum(1 for _ in objective.teacher.parameters())
    assert len(matrices["params"]) + len(vectors["params"]) == len(list(objective.parameters())) - teacher
    optimizer = torch.optim.AdamW([matrices, vectors], lr=1e-3)
    prototypes = [objective.heads["class"].prototypes.clone()]
    for step in range(3):
        run.set_schedule(settings, optimizer, step)
        loss = objective(*objective.sample_batch(crops, step / 100, (1, step)))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        objective.before_step(step / 100)
        optimizer.step()
        prototypes.append(objective.heads["class"].prototypes.detach().clone())
    assert torch.equal(prototypes[0], prototypes[2]) and not torch.equal(prototypes[2], prototypes[3])
    for step, decay in ((0, 0.05), (50, 0.225), (100, 0.4)):
        run.set_schedule(settings, optimizer, step)
        assert [g["weight_decay"] for g in optimizer.param_groups] == pytest.approx([decay, 0.0])


@pytest.mark.parametrize(
    ("name", "objective", "seconds", "rank1"),
    [("vit_mini", "tracks", 1035, (0.89, 0.79)), ("vit_mini_identity", "identity", 1189, (0.83, 0.56))],
)
def test_shipped_weights(name, objective, seconds, rank1):
    path = ASSETS / f"{name}.safetensors"
    assert path.stat().st_size <= 8 * 2**20
    model = build_model("vit_mini", height=96, width=48)
    assert load_weights(model, path).share == 1.0
    assert all(torch.isfinite(v).all() for v in model.state_dict().values())
    about = metadata_of(path)
    assert about["objective"] == objective and about["seconds"] == seconds
    measured = [about["probe_rank1"][f"{m}->{m}"] for m in ("visible", "infrared")]
    assert measured == pytest.approx(rank1, abs=0.005)
