"""Labels that several gloo processes make together equal those of
one process to the bit; failures end a job.
"""

import os
import signal

import numpy as np
import pytest
import torch
from helpers import process_groups

from sdcl import association
from sdcl.association import aggregation, ranking, refinement, unification
from sdcl.clustering import jaccard_distance, pseudo_labels
from sdcl.clustering.modality_aware import joint_pseudo_labels, modality_aware_distance
from sdcl.runtime import distributed
from sdcl.runtime.work_sharing import chunks_of_shard, with_idle_ranks


def join(rank, count, port):
    process_groups.as_rank(rank, count, port)
    distributed.start("cpu")


def labels_and_distances():
    """Everything that shares work, from 300 visible and 260 infrared images of 20 people."""
    generator = torch.Generator().manual_seed(5)
    people = 2 * torch.randn(20, 24, generator=generator)
    visible, infrared = (
        {
            branch: people[torch.arange(count) % 20] + torch.randn(count, 24, generator=generator)
            for branch in ("deep", "shallow")
        }
        for count in (300, 260)
    )
    deep = visible["deep"], infrared["deep"]
    made = {}
    for name, distance in (
        ("jaccard", jaccard_distance(deep[0], 12, 3)),
        ("joint", modality_aware_distance(*deep, 12, 3)),
    ):
        made |= {f"{name}_{part}": getattr(distance, part) for part in ("indptr", "indices", "data")}
    infrared_labels = pseudo_labels(deep[1], k1=12, k2=3, eps=0.6)
    joint = joint_pseudo_labels(*deep, k1=12, k2=3, eps=0.6)
    assert infrared_labels.num_clusters > 2 and joint.num_clusters > 2
    ids, cra = infrared_labels.ids, association.collaborative_ranking
    made |= {"infrared": ids, "joint": joint.ids, "cra": cra(visible, infrared, ids, 9)}
    made["one_branch"] = cra({"deep": deep[0]}, {"deep": deep[1]}, ids, 9)
    made["smoothed"] = association.majority_of_neighbors(made["cra"], visible)
    made["cmlu"] = association.propagate_labels(*deep, ids, 9)
    made["matches"] = association.count_matches(*deep, pseudo_labels(deep[0], eps=0.6).ids, ids, 40.0)
    assert len(made["matches"]) > 10
    made["refined"] = association.refine_labels(*deep, ids, deep[1][:12].repeat(3, 1), 9)
    return made


def make_together(rank, count, port):
    join(rank, count, port)
    for module in (aggregation, ranking, refinement, unification):
        module.CHUNK = 32  # ten chunks of queries
    jobs, compute = [], distributed._compute_shards

    def recorded(work, arguments):
        shards = compute(work, arguments)
        jobs.append((work.__name__, len(shards)))
        return shards

    distributed._compute_shards = recorded
    together = distributed.once(labels_and_distances)
    alone = labels_and_distances()
    assert all(np.array_equal(together[name], alone[name]) for name in alone) and len(alone) == 14
    names = {"partial_lists", "_labels_ranked_alike", "_majority", "_best_classes", "_refined", "_counted"}
    assert {name for name, _ in jobs} == names and len(jobs) == 5 + 6
    assert {shards for _, shards in jobs} == {1 if rank else count}  # process 0 alone collects them
    distributed.stop()


def make_in_fours_and_in_twos(rank, ports):
    make_together(rank, 4, ports[0])
    if rank < 2:
        make_together(rank, 2, ports[1])


def test_labels_of_two_and_four_processes_equal_those_of_one():
    with process_groups.ports(2) as ports:
        process_groups.spawn(make_in_fours_and_in_twos, (ports,), 4)


@pytest.mark.parametrize("count,size,shards", [(10, 3, 1), (10, 3, 3), (1, 3, 2), (0, 3, 2), (64, 8, 5)])
def test_chunks_of_all_shards_are_all_rows_in_order(count, size, shards):
    every = [chunks_of_shard(count, size, shard, shards) for shard in range(shards)]
    rows = [row for chunks in every for chunk in chunks for row in range(count)[chunk]]
    assert rows == list(range(count)) and all(every)
    assert all(chunk.start % size == 0 for chunks in every for chunk in chunks)


def first_rows(rows, more, shard, shards):
    """Results whose lengths differ; the last process has none."""
    return rows[: 4 * (shards - 1 - shard)] + more, rows.long()[:1] * 0 + shard


def kill(rows, shard, shards):
    if shard == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return (rows,)


ALLOCATE = distributed._Outline.allocate


def fail_once(outline):
    distributed._Outline.allocate = ALLOCATE
    raise torch.OutOfMemoryError("no room")


def meet_failures(rank, port, folder):
    join(rank, 2, port)
    rows = torch.arange(12.0).reshape(6, 2)

    def different_lengths():
        return with_idle_ranks(first_rows, rows.T.contiguous().T, torch.ones(1))  # rows not contiguous

    expected = [first_rows(rows, 1, shard, 2) for shard in range(2)]
    found = distributed.once(different_lengths)
    assert all(map(torch.equal, sum(found, ()), sum(expected, ()))) and found[1][0].shape == (0, 2)
    for failing in (1, 0):  # where the rows are received, and where the results are
        if rank == failing:
            distributed._Outline.allocate = fail_once
        with pytest.raises(RuntimeError, match=f"^process {failing}: OutOfMemoryError: no room$"):
            distributed.once(different_lengths)
        assert len(distributed.once(different_lengths)) == 2
    (folder / f"survived_{rank}").touch()
    try:
        distributed.once(lambda: with_idle_ranks(kill, rows))
    except RuntimeError as error:  # of gloo: the connection is closed
        (folder / "error").write_text(str(error))


def test_no_process_waits_for_one_that_fails(tmp_path):
    """Neither for one without memory for what is sent to it, nor for one that is killed."""
    with process_groups.ports() as (port,):
        survivor, killed = process_groups.exit_codes(meet_failures, (port, tmp_path), 2)
    assert killed == -signal.SIGKILL
    assert len(list(tmp_path.glob("survived_*"))) == 2
    # gloo raises an error; now and then a thread of its own meets the closed connection first, and aborts
    assert survivor == -signal.SIGABRT or (survivor == 0 and (tmp_path / "error").read_text())
