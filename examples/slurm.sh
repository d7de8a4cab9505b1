#!/bin/sh
# Any method on one or several nodes under SLURM: one torchrun per node, one process per GPU.
# Target and cost: as in the method's training script. Not yet run on a cluster.
# Use:    sbatch --nodes 1 --gpus-per-node 2 examples/slurm.sh -d sysu
#         sbatch --nodes 2 --gpus-per-node 4 examples/slurm.sh --method gur -d sysu
# SLURM sends a preempted job SIGTERM 120 seconds before its end: the run then saves within the epoch, and the
# requeued job continues it.
#SBATCH --job-name=sdcl
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -eu
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
exec srun "${PYTHON:-python}" -m torch.distributed.run --nnodes "$SLURM_NNODES" --nproc_per_node "${SLURM_GPUS_ON_NODE:-1}" \
    --rdzv_id "$SLURM_JOB_ID" --rdzv_backend c10d --rdzv_endpoint "$head:29500" -m sdcl.train "$@"
