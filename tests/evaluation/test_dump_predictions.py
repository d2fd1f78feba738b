"""The dump, also from two processes."""

import json
import os

import pytest
import torch
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from torch import distributed

from demul_mm.evaluation.metrics import DumpPredictions, MomentRecall
from demul_mm.evaluation.predictions import load_predictions
from demul_mm.registry import METRICS
from tests.evaluation.helpers import make_sample
from tests.warm import run_ranks

NUM_SAMPLES = 5


def _samples():
    generator = torch.Generator().manual_seed(0)
    samples = []
    for i in range(NUM_SAMPLES):
        spans = torch.rand(2, 4, 2, generator=generator).sort(-1).values * 30
        scores = torch.rand(2, 4, 1, generator=generator)
        pred = torch.cat([spans, scores], -1).tolist()
        samples.append(make_sample(i, gt=[[[0, 10]], [[5, 24.3]]], pred=pred))
    return samples


def _evaluate(path, samples):
    dump = METRICS.build(dict(type='DumpPredictions', out_path=str(path), meta=dict(epoch=3)))
    evaluator = Evaluator([MomentRecall(), dump])
    evaluator.dataset_meta = {'dataset_name': 'toy', 'split': 'val', 'classes': ()}
    for sample in samples:
        evaluator.process([sample])
    return evaluator.evaluate(NUM_SAMPLES)


def test_the_dump_scores_the_same_to_the_last_digit(tmp_path):
    path = tmp_path / 'dump.json'
    metrics = _evaluate(path, _samples())
    meta, entries = load_predictions(path)
    assert meta == {'dataset': 'toy', 'split': 'val', 'epoch': 3}
    assert entries[1]['gt'] == [[5.0, 24.3]]
    assert MomentRecall().compute_entries(entries) == metrics


def test_simulated_features_are_marked_in_file_and_log(tmp_path, caplog):
    path, sample = tmp_path / 'dump.json', {**_samples()[0], 'simulated': True}
    logger = MMLogger.get_current_instance()
    level = logger.level  # an earlier test may have run quietly
    logger.setLevel('INFO')
    logger.addHandler(caplog.handler)
    try:
        _evaluate(path, [sample])
    finally:
        logger.removeHandler(caplog.handler)
        logger.setLevel(level)
    assert load_predictions(path)[0]['simulated'] is True
    assert 'SIMULATED FEATURES, 2 queries' in caplog.text


def test_only_json_is_written():
    with pytest.raises(ValueError, match=r"out_path is 'x.pkl'; it must end with .json"):
        DumpPredictions(out_path='x.pkl')


def _rank_main(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    distributed.init_process_group(
        'gloo', init_method=f'file://{folder}/rendezvous', rank=rank, world_size=world
    )
    samples = _samples()
    share = [samples[i % NUM_SAMPLES] for i in range(rank, -(-NUM_SAMPLES // world) * world, world)]
    metrics = _evaluate(f'{folder}/ddp.json', share)
    with open(f'{folder}/metrics_{rank}.json', 'w') as file:
        json.dump(metrics, file)
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_write_and_score_the_same_as_one(tmp_path):
    alone = _evaluate(tmp_path / 'alone.json', _samples())
    run_ranks(_rank_main, 2, str(tmp_path))
    for rank in range(2):
        assert json.loads((tmp_path / f'metrics_{rank}.json').read_text()) == alone
    assert (tmp_path / 'ddp.json').read_text() == (tmp_path / 'alone.json').read_text()
