"""The corpus test loop against a slow reference that scores every pair."""

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner
from torch import Tensor

from demul_mm.engine import ranks as ranks_of_a_run
from demul_mm.engine.loops.corpus_test import exchange, step_recall
from demul_mm.evaluation import predictions
from demul_mm.evaluation.metrics import CorpusMomentMetric
from demul_mm.index import MomentIndex
from demul_mm.index.words import WordIndex
from demul_mm.models.localizers import DeMUL
from demul_mm.registry import MODELS
from demul_mm.retrieval import EncodedVideo, encode_batch
from demul_mm.structures import VideoEncoding, span_iou
from tests.engine.tiny import DIM, write_tiny_demul
from tests.models.tiny import tiny_config, tiny_data, tiny_model
from tests.tools.running import measured, run_in_process, run_warm_script

TOPK, IOUS = (1, 2, 5), (0.3, 0.5)
MODEL = {**tiny_config(), 'streams': {'visual': {**tiny_config()['streams']['visual']}}}
MODEL['streams']['visual']['in_dim'] = DIM


@pytest.fixture(scope='module')
def config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos with three queries each, and a small model."""
    folder = tmp_path_factory.mktemp('corpus')
    cfg = Config.fromfile(write_tiny_demul(folder / 'data'))
    cfg.model = MODEL
    cfg.custom_imports = dict(imports=['tests.models.tiny'])
    cfg.custom_hooks = []
    cfg.test_cfg = dict(type='CorpusTestLoop', num_fused=5, num_videos=5, query_batch=4)
    corpus_metric = dict(type='CorpusMomentMetric', topk=TOPK, ious=IOUS, floors=False)
    cfg.test_evaluator = [corpus_metric, dict(type='MomentRecall', floors=False)]
    path = folder / 'tiny_corpus.py'
    cfg.dump(path)
    torch.manual_seed(4)
    model = MODELS.build(MODEL)
    for name, parameter in model.neck.named_parameters():
        if name.endswith(('alpha', 'beta')):
            parameter.data.fill_(0.5)
    torch.save(dict(state_dict=model.state_dict()), folder / 'weights.pth')
    return path


def make_runner(
    config: Path,
    work_dir: Path,
    plain: bool = False,
    dataset: dict[str, Any] | None = None,
    **options: Any,
) -> Runner:
    """The corpus test with these options, or the plain test of known videos."""
    cfg = Config.fromfile(config)
    for part in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler'):
        cfg.pop(part)
    for part in ('val_dataloader', 'val_cfg', 'val_evaluator'):
        cfg.pop(part)
    cfg.test_cfg.update(options)
    cfg.test_dataloader.dataset.update(dataset or {})
    if plain:
        cfg.test_cfg, cfg.test_evaluator = dict(type='TestLoop'), cfg.test_evaluator[1]
    cfg.update(work_dir=str(work_dir), experiment_name=work_dir.name)
    cfg.load_from = str(config.parent / 'weights.pth')
    return Runner.from_cfg(cfg)


@torch.no_grad()
def encode_alone(runner: Runner) -> tuple[list, VideoEncoding]:
    """The samples of the split, and their videos in one batch."""
    dataset = runner.test_dataloader.dataset
    items = [dataset[i] for i in range(len(dataset))]
    samples = [item['data_samples'] for item in items]
    inputs = dict(visual=[item['inputs']['visual'] for item in items])
    data = runner.model.data_preprocessor(dict(inputs=inputs, data_samples=samples), False)
    return samples, runner.model.encode_video(data['inputs'])


@torch.no_grad()
def slow_answers(model: DeMUL, samples: list, videos: VideoEncoding) -> tuple[dict, list[dict]]:
    """Rows of every query, fused with every video, and the truth."""
    answers, truth = {}, []
    pairs = torch.arange(len(samples))
    for sample in samples:
        for q, text in enumerate(sample.queries):
            found = model.localize(videos, model.encode_query([text]), pairs, pairs * 0)
            rows = []
            for v, other in enumerate(samples):
                spans = found.spans[v] * other.extent
                kept = slow_nms(spans, found.scores[v].masked_fill(~found.mask[v], -torch.inf))
                rows += [
                    [other.video_id, *spans[i].tolist(), float(found.scores[v, i])] for i in kept
                ]
            query_id = sample.query_ids[q]
            answers[query_id] = sorted(rows, key=lambda row: -row[3])
            gt = predictions.plain_floats(sample.gt_spans[q])
            truth.append(dict(query_id=query_id, video_id=sample.video_id, gt=gt))
    return answers, truth


def slow_nms(spans: Tensor, scores: Tensor) -> list[int]:
    kept: list[int] = []
    for i in scores.argsort(descending=True, stable=True).tolist():
        clear = all(span_iou(spans[i], spans[k]) <= 0.5 for k in kept)
        if scores[i] > -torch.inf and clear:
            kept.append(i)
    return kept[:5]


def test_words_that_outweigh_all_decide(config: Path, tmp_path: Path) -> None:
    """Each video is told in its own queries' words; the ranking of videos is then that of BM25."""
    lines = Path(config.parent, 'data', 'val.jsonl').read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    texts = [' '.join(query['query'] for query in row['queries']) for row in rows]
    told = [dict(video_id=r['video_id'], subtitles=[[0, 5, t]]) for r, t in zip(rows, texts)]
    file = tmp_path / 'texts.jsonl'
    file.write_text(''.join(json.dumps(row) + '\n' for row in told))
    words = WordIndex.of(texts)
    best = [
        [words.scores(q['query']).argmax() == v for q in r['queries']] for v, r in enumerate(rows)
    ]
    found = {}
    for mode in ('fast', 'full'):
        for weight in (0.0, 1000.0):
            work_dir = tmp_path / f'{mode}_{weight:g}'
            runner = make_runner(config, work_dir, dataset=dict(texts=str(file)), mode=mode)
            runner.load_checkpoint(runner._load_from)
            runner._load_from = None
            runner.model.head.joint.words_weight.fill_(weight)
            found[mode, weight] = runner.test()['VR/R@1']
    expected = pytest.approx(100 * np.mean(best))
    assert found['fast', 1000.0] == found['full', 1000.0] == expected
    assert max(found['fast', 0.0], found['full', 0.0]) < 100 * np.mean(best)


def test_same_numbers_as_scoring_every_pair(config: Path, tmp_path: Path) -> None:
    runner = make_runner(config, tmp_path)
    metrics = runner.test()
    answers, truth = slow_answers(runner.model, *encode_alone(runner))
    expected = CorpusMomentMetric.calculate(answers, truth, topk=TOPK, ious=IOUS)
    assert {key: metrics[key] for key in expected} == expected
    for n, m in ((1, 0.5), (5, 0.3)):
        assert metrics[f'SVMR/R@{n},IoU={m}'] == metrics[f'R@{n},IoU={m}']
    assert 0 < expected['VR/R@1'] < 100
    assert [metrics[f'recall/{step}'] for step in ('level1', 'level2', 'fused')] == [100.0] * 3


def test_known_videos_are_as_in_the_plain_test(config: Path, tmp_path: Path) -> None:
    """``pred_moments`` are what the plain loop predicts in the right video."""
    plain = make_runner(config, tmp_path / 'plain', plain=True)
    expected = {key: value for key, value in plain.test().items() if 'IoU' in key}
    found = make_runner(config, tmp_path / 'corpus').test()
    assert {key: found[key] for key in expected} == pytest.approx(expected, abs=1e-4)


def test_recall_of_each_step_is_counted(config: Path, tmp_path: Path) -> None:
    runner = make_runner(config, tmp_path, num_candidates=3, num_videos=2, num_fused=1)
    # So few videos are scanned: level 1 hands over the best two of them, exactly.
    metrics = runner.test()
    samples, videos = encode_alone(runner)
    ranks = []
    for v, sample in enumerate(samples):
        queries = runner.model.encode_query(list(sample.queries)).shared
        cells = torch.einsum('qs,vms->qvm', queries, videos.shared)
        best = cells.masked_fill(~videos.mask, -1).amax(-1)  # (Q, V)
        ranks += (best > best[:, v : v + 1]).sum(1).tolist()
    share = {n: 100 * sum(rank < n for rank in ranks) / len(ranks) for n in (1, 2)}
    assert metrics['recall/level2'] == pytest.approx(share[2])
    assert metrics['recall/fused'] == pytest.approx(share[1])
    assert metrics['recall/level1'] >= metrics['recall/level2']
    assert 0 < share[1] < share[2] < 100


def test_fast_ranks_as_the_index_does_and_keeps_it(config: Path, tmp_path: Path) -> None:
    index = dict(type='ExactIndex', level2='fp16', path=str(tmp_path / 'index'))
    runner = make_runner(config, tmp_path / 'run', mode='fast', index=index, levels=[1, 2])
    metrics = runner.test()
    assert 'recall/fused' not in metrics
    assert metrics['recall/level2'] == 100
    assert MomentIndex.open(tmp_path / 'index').stats()['videos'] == 5
    assert metrics['VR/R@5'] == 100


def test_more_fused_than_let_through_is_refused(config: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='num_fused is 5'):
        make_runner(config, tmp_path, num_videos=3).test()


def simulate_ranks(monkeypatch: pytest.MonkeyPatch, parts: list[Any], work: Any) -> list[Any]:
    """Run ``work(part)`` on threads that gather from each other as ranks do."""
    meet = threading.Barrier(len(parts))
    slots: list[Any] = [None] * len(parts)
    ranks = threading.local()

    def gather(data: Any) -> list[Any]:
        slots[ranks.number] = data
        meet.wait(timeout=20)
        everything = list(slots)
        meet.wait(timeout=20)
        return everything

    monkeypatch.setattr(ranks_of_a_run, 'all_gather_object', gather)
    results: list[Any] = [None] * len(parts)

    def start(number: int) -> None:
        ranks.number = number
        results[number] = work(parts[number])

    threads = [threading.Thread(target=start, args=(n,)) for n in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_ranks_exchange_all_videos_in_the_order_of_the_data_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, data = tiny_model(), tiny_data((13, 8, 20, 5), (1, 1, 1, 1))
    videos: list[EncodedVideo] = encode_batch(model, data)
    monkeypatch.setattr(ranks_of_a_run, 'BLOCK', 1)
    # Three ranks; the last repeats a video, as samplers do to fill up.
    parts = [{0: videos[0], 3: videos[3]}, {1: videos[1]}, {2: videos[2], 0: videos[0]}]
    for found in simulate_ranks(monkeypatch, parts, exchange):
        assert list(found) == [video.video_id for video in videos]
        for video in videos:
            torch.testing.assert_close(tuple(found[video.video_id].encoding), tuple(video.encoding))


def test_a_query_that_two_ranks_answered_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hit, miss = (True, True, True), (True, False, False)
    parts = [dict(a=hit, b=miss), dict(b=miss, c=miss)]
    for recall in simulate_ranks(monkeypatch, parts, step_recall):
        assert recall == pytest.approx(
            {'recall/level1': 100, 'recall/level2': 100 / 3, 'recall/fused': 100 / 3}
        )


@pytest.mark.slow
def test_two_processes_measure_what_one_does(config: Path, tmp_path: Path) -> None:
    command = [str(config), str(config.parent / 'weights.pth')]
    dump = tmp_path / 'dump.json'
    run_in_process(
        'tools/test.py', *command, '--work-dir', str(tmp_path / 'one'), '--dump', str(dump)
    )
    run_warm_script('tools/dist_test.sh', *command, '2', '--work-dir', str(tmp_path / 'two'))
    one, two = measured(tmp_path / 'one'), measured(tmp_path / 'two')
    for results in (one, two):
        results.pop('time'), results.pop('data_time')
    assert two == pytest.approx(one, abs=1e-3)
    _, entries = predictions.load_predictions(dump)
    assert len(entries) == 15
    assert all(len(entry['corpus']) >= 5 and entry['pred'] for entry in entries)
