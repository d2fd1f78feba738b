"""Streams that a video may lack, from the store to the predictions."""

import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope

from demul_mm.datasets import JsonlMomentDataset, PackedWriter
from demul_mm.datasets.transforms import PackMomentInputs, ResampleClips
from demul_mm.datasets.transforms.load_feature import cover_extent
from demul_mm.registry import TRANSFORMS
from tests.datasets.helpers import video, write_jsonl
from tests.models.tiny import FEATURES, losses_of, only, predictions_of, tiny_model

STREAMS = ('visual', 'subtitle')
CLOSE = dict(rtol=1e-4, atol=1e-4)


def store(tmp_path, name: str, dim: int, lengths: dict[str, int], **options) -> dict:
    rng = np.random.default_rng(dim)
    path = str(tmp_path / name)
    with PackedWriter(path, dim=dim, dtype='float32', **options) as writer:
        for video_id, rows in lengths.items():
            writer.add(video_id, rng.normal(size=(rows, dim)))
    return dict(type='PackedStore', path=path, dim=dim)


def build(tmp_path, spoken: str, steps: tuple = (), visual: str = 'abcd', **options):
    """Videos of 20 s: a picture row a second, a spoken row every 1.5 s up to the last word."""
    seen = dict.fromkeys(visual, 20)
    features = dict(
        visual=store(tmp_path, 'visual', FEATURES, seen),
        subtitle=store(
            tmp_path,
            'subtitle',
            FEATURES + 1,
            dict.fromkeys([*spoken, 'other'], 9),
            clip_seconds=1.5,
        ),
    )
    return JsonlMomentDataset(
        write_jsonl(tmp_path / 'a.jsonl', [video(name) for name in 'abcd']),
        split='train',
        features=features,
        pipeline=[
            dict(type='LoadVideoFeature', optional='d' not in visual),
            dict(type='LoadVideoFeature', stream='subtitle', optional=True),
            *steps,
            dict(type='ResampleClips', num_clips=16, streams=STREAMS),
            dict(type='PackMomentInputs'),
        ],
        **options,
    )


def test_a_video_without_the_stream_is_kept(tmp_path):
    dataset = build(tmp_path, 'ac')
    assert len(dataset) == 4
    for index, there in enumerate([True, False, True, False]):
        item = dataset[index]
        assert item['inputs']['visual'].shape == (16, FEATURES)
        assert (item['inputs']['subtitle'] is not None) == there
        assert item['data_samples'].extent == 20
    spoken = dataset[0]['inputs']['subtitle']
    assert spoken.shape == (16, FEATURES + 1)
    # 9 rows of 1.5 s are 13.5 s; the rest of the 20 s (to the nearest row) is silent.
    assert (spoken[:10] != 0).all()
    assert (spoken[12:] == 0).all()


def test_how_many_lack_it_is_said(tmp_path, caplog):
    from mmengine.logging import MMLogger

    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        build(tmp_path, 'ac')
    finally:
        logger.removeHandler(caplog.handler)
    assert "2 of 4 videos have no stream 'subtitle', which is optional" in caplog.text


def test_a_video_with_no_stream_at_all_is_missing(tmp_path):
    message = r'1 of 4 videos cannot be loaded \(d: not in .*visual\)'
    with pytest.raises(ValueError, match=message):
        build(tmp_path, 'ac', visual='abc')


def test_a_video_with_its_words_alone(tmp_path):
    dataset = build(tmp_path, 'acd', visual='abc', missing='skip')
    item = dataset[3]
    assert item['inputs']['visual'] is None
    assert item['inputs']['subtitle'].shape == (9, FEATURES + 1)
    assert item['data_samples'].extent == 13.5


@pytest.mark.parametrize('spoken', ['abcd', 'ac', ''])
def test_augmentations_keep_what_is_there(tmp_path, spoken):
    steps = (
        dict(type='SpliceMoment', prob=1.0, too_alike=1.0, tries=20),
        dict(type='TemporalCrop', prob=1.0),
        dict(type='SpeedChange', prob=1.0),
        dict(type='ClipDrop', prob=1.0),
        dict(type='ClipDrop', prob=1.0, mode='remove'),
    )
    dataset = build(tmp_path, spoken, steps)
    for _ in range(5):
        for index, name in enumerate('abcd'):
            inputs = dataset[index]['inputs']
            assert (inputs['subtitle'] is not None) == (name in spoken)
            if name in spoken:
                assert len(inputs['subtitle']) == len(inputs['visual'])


@pytest.fixture(scope='module')
def model():
    return tiny_model(STREAMS)


@pytest.mark.parametrize('spoken', ['abcd', 'ac', 'b', ''])
def test_a_whole_model_learns_and_predicts(tmp_path, model, spoken):
    """Some videos of a batch lack the stream, or all of them do."""
    dataset = build(tmp_path, spoken)
    batch = pseudo_collate([dataset[index] for index in range(4)])
    losses = losses_of(model, batch)
    assert all(value.isfinite() for value in losses.values())
    model.zero_grad()
    sum(losses.values()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in model.parameters())
    together = predictions_of(model, batch)
    for index, sample in enumerate(together):
        (alone,) = predictions_of(model, only(batch, index))
        for one, two in zip(sample.pred_moments, alone.pred_moments, strict=True):
            assert one.scores.isfinite().all()
            torch.testing.assert_close(one.spans, two.spans, **CLOSE)
            torch.testing.assert_close(one.scores, two.scores, **CLOSE)


def test_rows_cover_the_extent():
    rows = np.arange(1, 7, dtype=np.float32).reshape(3, 2)
    assert cover_extent(rows, 1.5, 4.5).tolist() == rows.tolist()
    assert cover_extent(rows, 1.5, 3.1).tolist() == rows[:2].tolist()
    assert cover_extent(rows, 1.5, 0.2).tolist() == rows[:1].tolist()
    assert cover_extent(rows, 1.5, 7.4).tolist() == [*rows.tolist(), [0, 0], [0, 0]]
    assert cover_extent(rows, 1.5, 7.4).dtype == np.float32


class TestResample:
    def item(self, **lengths: int | None) -> dict:
        streams = {k: None if n is None else np.ones((n, 2)) for k, n in lengths.items()}
        return {'streams': streams, 'extent': 20.0}

    @pytest.mark.parametrize(
        ('options', 'lengths', 'expected'),
        [
            (dict(num_clips=8), (20, 5), (8, 8)),
            (dict(num_clips=8), (6, 50), (6, 6)),
            (dict(num_clips=8, keep_short=False), (6, 50), (8, 8)),
            (dict(num_clips=None), (20, 5), (20, 20)),
            (dict(num_clips=8), (20, None), (8, None)),
            (dict(num_clips=8), (None, 5), (None, 5)),
            (dict(num_clips=8), (None, 50), (None, 8)),
            (dict(num_clips=8, scale=0.5), (20, 5), (4, 4)),
            (dict(num_clips=8, scale=1.5), (6, 6), (9, 9)),
            (dict(num_clips=8, scale=0.01), (6, 6), (1, 1)),
        ],
    )
    def test_all_streams_get_one_number_of_clips(self, options, lengths, expected):
        item = self.item(visual=lengths[0], subtitle=lengths[1])
        results = ResampleClips(streams=STREAMS, **options)(item)
        found = tuple(None if s is None else len(s) for s in results['streams'].values())
        assert found == expected
        before = tuple(None if s is None else len(s) for s in item['streams'].values())
        assert before == lengths  # the item stays as it is
        assert results['extent'] == 20

    def test_mistakes_are_named(self):
        with pytest.raises(ValueError, match=r"a stream 'audio' that no step .* \['visual'\]"):
            ResampleClips(8, streams=('audio',))(self.item(visual=3))
        with pytest.raises(ValueError, match='scale=0: give a number above 0'):
            ResampleClips(8, scale=0)


def test_packing_nothing_is_an_error():
    item = {'video_id': 'v', 'streams': {'visual': None, 'subtitle': None}}
    item.update(queries=[], query_ids=[], gt_spans=[])
    with pytest.raises(ValueError, match=r"'v' has no stream at all \(of \['subtitle', 'visual'\]"):
        PackMomentInputs()(item)


def test_steps_of_the_subtitle_config(tmp_path):
    """That config's own steps after loading, with a video that has no subtitles."""
    from pathlib import Path

    from mmengine.config import Config

    root = Path(__file__).resolve().parents[2]
    steps = Config.fromfile(root / 'configs' / 'demul_tvr_subtitles.py').test_pipeline[2:]
    with DefaultScope.overwrite_default_scope('demul_mm'):
        pipeline = Compose([TRANSFORMS.build(step) for step in steps])
    rows = np.ones((300, 4), np.float32)
    item = {'video_id': 'v', 'duration': 90.0, 'extent': 90.0, 'queries': ['a'], 'query_ids': ['1']}
    item.update(gt_spans=[np.array([[1.0, 2.0]])], streams={'visual': rows, 'subtitle': None})
    inputs = pipeline(item)['inputs']
    assert inputs['visual'].shape == (128, 4)
    assert inputs['subtitle'] is None
