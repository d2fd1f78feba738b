"""Joining the other processes of a distributed run."""

import os
import subprocess
from datetime import timedelta

import torch
from mmengine.config import Config
from torch import distributed


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
    seconds = ((config.get('env_cfg') or {}).get('dist_cfg') or {}).get('timeout')
    distributed.init_process_group('gloo', timeout=seconds and timedelta(seconds=seconds))
    wrapper = dict(config.get('model_wrapper_cfg') or {})
    wrapper.setdefault('type', 'mmengine.MMDistributedDataParallel')
    wrapper.setdefault('broadcast_buffers', False)
    wrapper.setdefault('find_unused_parameters', config.get('find_unused_parameters', False))
    config.model_wrapper_cfg = dict(wrapper, device_ids=None)


def _export_ranks(launcher: str) -> None:
    """Translate what srun and mpirun export into what torch reads; torchrun did it already."""
    env = os.environ
    if launcher == 'slurm':
        env['RANK'], env['WORLD_SIZE'] = env['SLURM_PROCID'], env['SLURM_NTASKS']
        env['LOCAL_RANK'] = env['SLURM_LOCALID']
        if 'MASTER_ADDR' not in env:
            hosts = ['scontrol', 'show', 'hostname', env['SLURM_NODELIST']]
            env['MASTER_ADDR'] = subprocess.check_output(hosts, text=True).split()[0]
    elif launcher == 'mpi':
        prefix = 'OMPI_COMM_WORLD_'
        env['RANK'], env['WORLD_SIZE'] = env[prefix + 'RANK'], env[prefix + 'SIZE']
        env['LOCAL_RANK'] = env[prefix + 'LOCAL_RANK']
        env.setdefault('MASTER_ADDR', '127.0.0.1')
    elif 'RANK' not in env:
        raise ValueError('--launcher pytorch needs torchrun; use tools/dist_train.sh CONFIG COUNT')
    env.setdefault('MASTER_PORT', '29500')
