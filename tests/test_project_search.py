"""Methods that search a corpus do so through their loops, videos without any query among it."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor, nn

import projects.clip_zero_shot
import projects.conquer  # noqa: F401  both register their methods
from demul_mm.registry import MODELS
from tests.engine.tiny import DIM, write_tiny_demul
from tests.models.tiny import VOCABULARY
from tests.warm import run_ranks


@MODELS.register_module(force=True)
class WordTable(nn.Module):
    """A vector for each word, as wide as the clips' features."""

    out_dim = DIM

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, DIM)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.table(ids)


BORDERS = dict(
    language=dict(type='WordProjection', lm=dict(type='WordTable'), dim=16), dim=16, max_clips=32
)
METHODS = {
    'zero_shot': (
        dict(type='ZeroShot', language=dict(type='SentenceVectors', lm=dict(type='WordTable'))),
        dict(type='IndexTestLoop'),
    ),
    'xml': (dict(type='XML', **BORDERS), dict(type='ExhaustiveTestLoop')),
    'conquer': (dict(type='Conquer', **BORDERS), dict(type='ExhaustiveTestLoop', num_searched=2)),
}


def metrics_of(folder: Path, name: str) -> dict[str, float]:
    """All metrics of an untrained model; half of the videos have no query."""
    config = Config.fromfile(write_tiny_demul(folder / 'data'))
    method, loop = METHODS[name]
    config.model = dict(
        method,
        streams=dict(visual=dict(in_dim=DIM)),
        data_preprocessor=dict(
            type='MomentDataPreprocessor', tokenizer=dict(type='TinyTokenizer'), pad_divisor=1
        ),
    )
    config.custom_hooks = []
    config.test_dataloader.batch_size = 1
    config.test_dataloader.dataset.folds = dict(num=2, test=0, part='corpus')
    config.test_cfg = dict(loop, num_videos=5)
    config.test_evaluator = dict(
        type='CorpusMomentMetric', topk=(1, 2, 5), ious=(0.3,), floors=False
    )
    config.work_dir, config.experiment_name = str(folder / 'runs'), f'{folder.name}_{name}'
    for part in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        config.pop(part)
    for part in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        config.pop(part)
    torch.manual_seed(0)
    return Runner.from_cfg(config).test()


@pytest.mark.parametrize('name', METHODS)
def test_every_video_is_found_in_the_end(name: str, tmp_path: Path) -> None:
    metrics = metrics_of(tmp_path, name)
    recall = [metrics[f'VR/R@{k}'] for k in (1, 2, 5)]
    assert recall == sorted(recall)
    assert recall[-1] == 100  # five videos are listed, so the right one is
    assert 0 <= metrics['VCMR/R@5,IoU=0.3'] <= 100
    if name == 'xml':  # a video's moments keep their order among those of others
        for k in (1, 2, 5):
            assert metrics[f'VCMR/R@{k},IoU=0.3'] <= metrics[f'SVMR/R@{k},IoU=0.3']


def _rank_main(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=2
    )
    found = {name: metrics_of(Path(folder, f'{name}_{rank}'), name) for name in METHODS}
    torch.save(found, f'{folder}/{rank}.pt')
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_search_what_one_does(tmp_path: Path) -> None:
    alone = {name: metrics_of(tmp_path / name, name) for name in METHODS}
    run_ranks(_rank_main, str(tmp_path))
    for rank in range(2):
        found = torch.load(tmp_path / f'{rank}.pt', weights_only=True)
        for name in METHODS:
            assert found[name] == pytest.approx(alone[name], abs=1e-3)
            assert alone[name]['VR/R@2'] < 100
