"""Joining the other processes of a distributed run."""

import os
import subprocess
from datetime import timedelta

import torch
from mmengine.config import Config
from torch import distributed

# For the slowest share of what was dealt out.
LONGEST_WAIT = timedelta(days=30)


def launch(config: Config, launcher: str, local_rank: int = 0) -> None:
    """Join the other processes of a distributed run; on machines without a GPU too.

    mmengine's ``init_dist`` calls ``torch.cuda.set_device``, and its default model wrapper names
    GPU ids. So without CUDA the process group (gloo) is made here, before the Runner is built,
    and the model is wrapped without ids.
    """
    config.launcher = launcher
    os.environ.setdefault('LOCAL_RANK', str(local_rank))
    if launcher == 'none' or torch.cuda.is_available():
        return
    _export_ranks(launcher)
    _export_master(launcher)
    seconds = ((config.get('env_cfg') or {}).get('dist_cfg') or {}).get('timeout')
    distributed.init_process_group('gloo', timeout=seconds and timedelta(seconds=seconds))
    wrapper = dict(config.get('model_wrapper_cfg') or {})
    wrapper.setdefault('type', 'mmengine.MMDistributedDataParallel')
    wrapper.setdefault('broadcast_buffers', False)
    wrapper.setdefault('find_unused_parameters', config.get('find_unused_parameters', False))
    config.model_wrapper_cfg = dict(wrapper, device_ids=None)


def join(launcher: str) -> None:
    """Join the other processes among which work is dealt out that needs no model wrapper.

    On machines with GPUs, each process of one takes its own.
    """
    if launcher == 'none':
        return
    _export_ranks(launcher)
    _export_master(launcher)
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ['LOCAL_RANK']) % torch.cuda.device_count())
    distributed.init_process_group('gloo', timeout=LONGEST_WAIT)


def _export_ranks(launcher: str) -> None:
    """Translate what srun and mpirun export into what torch reads; torchrun did it already."""
    env = os.environ
    if launcher == 'slurm':
        env['RANK'], env['WORLD_SIZE'] = env['SLURM_PROCID'], env['SLURM_NTASKS']
        env['LOCAL_RANK'] = env['SLURM_LOCALID']
    elif launcher == 'mpi':
        prefix = 'OMPI_COMM_WORLD_'
        env['RANK'], env['WORLD_SIZE'] = env[prefix + 'RANK'], env[prefix + 'SIZE']
        env['LOCAL_RANK'] = env[prefix + 'LOCAL_RANK']
    elif 'RANK' not in env:
        raise ValueError(
            '--launcher pytorch needs torchrun, as torchrun --nproc_per_node COUNT TOOL ...; '
            'for training and testing: tools/dist_train.sh CONFIG COUNT, tools/dist_test.sh'
        )


def _export_master(launcher: str) -> None:
    """Where the processes meet, if srun or mpirun do not say."""
    env = os.environ
    if launcher == 'slurm' and 'MASTER_ADDR' not in env:
        hosts = ['scontrol', 'show', 'hostname', env['SLURM_NODELIST']]
        env['MASTER_ADDR'] = subprocess.check_output(hosts, text=True).split()[0]
    elif launcher == 'mpi':
        env.setdefault('MASTER_ADDR', '127.0.0.1')
    env.setdefault('MASTER_PORT', '29500')
