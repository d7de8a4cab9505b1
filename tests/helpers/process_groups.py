"""Process groups of tests: stores whose ports are held, a deadline, and no process left behind."""

import os
import signal
import subprocess
import time
from contextlib import contextmanager

import torch.distributed as dist
import torch.multiprocessing as mp

# Seconds that a program of a test may take before it counts as hanging:
# far more than any takes on a busy machine.
PATIENCE = 600


@contextmanager
def ports(count=1):
    """Ports of `count` stores of process groups; nobody else can take them meanwhile."""
    stores = [dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False) for _ in range(count)]
    yield tuple(store.port for store in stores)


def as_rank(rank, count, port):
    """Let `distributed.start` in this process join the group of a store as this rank."""
    names = {"RANK": rank, "WORLD_SIZE": count, "LOCAL_RANK": rank, "MASTER_PORT": port}
    names |= {
        "MASTER_ADDR": "127.0.0.1",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "TORCHELASTIC_RESTART_COUNT": 0,
    }
    os.environ |= {name: str(value) for name, value in names.items()}


def spawn(function, arguments, count):
    """Call function(rank, *arguments) in `count` processes; what one raises is raised here."""
    context = mp.spawn(function, arguments, nprocs=count, join=False)
    deadline = time.monotonic() + PATIENCE
    try:
        while not context.join(timeout=5):
            assert time.monotonic() < deadline, f"{function.__name__} takes more than {PATIENCE} s"
    finally:
        end(context.processes)


def exit_codes(function, arguments, count):
    """The same, giving how each process ended."""
    context = mp.spawn(function, arguments, nprocs=count, join=False)
    deadline = time.monotonic() + PATIENCE
    try:
        for process in context.processes:
            process.join(max(0, deadline - time.monotonic()))
        return [process.exitcode for process in context.processes]
    finally:
        end(context.processes)


def end(processes):
    for process in processes:
        if process.is_alive():
            process.kill()


def wait_until(condition):
    """Until condition() holds; a failure if it does not come to hold."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "what was waited for did not come"
        time.sleep(0.01)


def run_program(command, **options):
    """`subprocess.run` with captured text, which ends the program and all that it started if it hangs."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    with subprocess.Popen(command, start_new_session=True, **options) as program:
        try:
            stdout, stderr = program.communicate(timeout=PATIENCE)
        except BaseException:
            os.killpg(program.pid, signal.SIGKILL)
            raise
    return subprocess.CompletedProcess(command, program.returncode, stdout, stderr)
