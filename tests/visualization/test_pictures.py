"""Pictures are drawn where the data say."""

import cv2
import numpy as np
import pytest
import torch
from matplotlib.text import Text
from mmengine.structures import InstanceData

from demul_mm.evaluation.predictions import entries_from_sample
from demul_mm.evaluation.reliability import reliability
from demul_mm.registry import VISUALIZERS
from demul_mm.structures import MomentDataSample, PhraseMap
from demul_mm.visualization.browsing import draw_item
from demul_mm.visualization.charts import (
    TimelineRow,
    draw_reliability,
    draw_timeline,
    figure_image,
)
from demul_mm.visualization.from_predictions import entry_phrases
from demul_mm.visualization.phrases import PhraseRows
from tests.visualization.helpers import write_video


def _sample(with_pred: bool = True) -> MomentDataSample:
    sample = MomentDataSample(
        metainfo=dict(video_id='v', duration=10.0, sample_idx=0, query_ids=['v#0', 'v#1'])
    )
    sample.queries = ['first', 'second']
    sample.gt_spans = [[[2.0, 4.0]], [[5.0, 9.0]]]
    if with_pred:
        sample.pred_moments = [
            InstanceData(spans=torch.tensor([[0.0, 1.0], [2.0, 4.0]]),
                         scores=torch.tensor([0.2, 0.9]), terms=torch.ones(2, 5)),
            InstanceData(spans=torch.zeros(0, 2), scores=torch.zeros(0)),
        ]  # fmt: skip
    return sample


@pytest.mark.parametrize('with_pred', [True, False])
def test_the_visualizer_writes_a_picture(tmp_path, with_pred):
    write_video(tmp_path / 'v.mp4', seconds=10)
    visualizer = VISUALIZERS.build(
        dict(type='MomentVisualizer', name=f'picture_{with_pred}', num_frames=4)
    )
    out = tmp_path / 'sub' / 'v.png'
    visualizer.add_datasample('v', _sample(with_pred), tmp_path / 'v.mp4', out_file=out)
    image = cv2.imread(str(out))[..., ::-1].astype(int)
    assert [p.name for p in out.parent.iterdir()] == ['v.png']
    blue = (np.abs(image - (0x3B, 0x67, 0xD6)).sum(-1) < 12).any()
    green = (np.abs(image - (0x0F, 0x8A, 0x6A)).sum(-1) < 12).any()
    assert green
    assert blue == with_pred


def test_the_visualizer_hands_pictures_to_its_backends(tmp_path):
    visualizer = VISUALIZERS.build(
        dict(type='MomentVisualizer', name='backend_test', save_dir=str(tmp_path),
             vis_backends=[dict(type='LocalVisBackend')])
    )  # fmt: skip
    visualizer.add_datasample('val', _sample(), step=3)
    assert [p.name for p in tmp_path.rglob('*.png')] == ['val_3.png']


def test_reliability_picture_is_drawn():
    table = reliability(np.array([0.1, 0.9, 0.95]), np.array([False, True, True]), num_bins=5)
    image = figure_image(draw_reliability(table, 'x'))
    assert image.dtype == np.uint8
    assert (image != 255).any()


@pytest.mark.parametrize('text', ['he pays $5 and gets $3 back', '$100% off, $5'])
def test_dollars_are_no_formula(text: str) -> None:
    """In whatever a data set gives: its sentences, their words, and the names of its videos."""
    phrases = PhraseRows([text], np.ones((1, 4)), [1.0], 10.0)
    row = TimelineRow(text, [[1, 2]], [[1, 2, 0.5]], [0.5], phrases)
    info = dict(video_path='', queries=[text], gt_spans=[[[1, 2]]], video_id=text, duration=10.0)
    for figure in (
        draw_timeline(text, 10.0, [row], term_names=['semantic']),
        draw_item(info, None, [], 5),
    ):
        figure_image(figure)
        drawn = [one for one in figure.findobj(Text) if '$' in one.get_text()]
        assert len(drawn) >= 2
        assert not any(one.get_parse_math() for one in drawn)


def _explained() -> MomentDataSample:
    sample = _sample()
    clips = torch.tensor([[0.0, 0.0, 1.0, 0.0], [0.0, 0.5, 0.0, 0.0]])
    sample.pred_phrases = [PhraseMap(['red', 'disc'], clips)] * 2
    return sample


def test_phrases_are_drawn_where_they_are_known(tmp_path):
    visualizer = VISUALIZERS.build(dict(type='MomentVisualizer', name='phrases'))
    dark = []
    for name, sample in (('plain', _sample()), ('explained', _explained())):
        visualizer.add_datasample('v', sample, out_file=tmp_path / f'{name}.png')
        image = cv2.imread(str(tmp_path / f'{name}.png'))[..., ::-1].astype(int)
        dark.append((np.abs(image - (0x54, 0x1A, 0x12)).sum(-1) < 8).sum(0))
    assert dark[0].max() == 0
    # The clip that a word speaks for most is the third of four, in both queries' maps.
    columns = np.flatnonzero(dark[1])
    middle = columns.mean() / len(dark[1])
    assert 0.4 < middle < 0.7
    assert np.array_equal(np.diff(columns), np.ones(len(columns) - 1))


def test_entries_keep_the_phrases(tmp_path):
    sample = _explained()
    first, second = entries_from_sample(sample.to_dict())
    assert [phrase['text'] for phrase in first['phrases']] == ['red', 'disc']
    assert first['phrases'][0] == dict(text='red', clips=[0, 0, 1, 0], weights=[0, 0])
    assert first['phrases'][1]['weights'] == [0.375, 0]  # the best one lies in it for 1.5 of 2 s
    assert second['phrases'][1]['weights'] == []  # no prediction
    assert first['extent'] == 10.0
    rows = entry_phrases(first)
    assert rows.clips.tolist() == [[0, 0, 1, 0], [0, 0.5, 0, 0]]
    assert list(rows.weights) == [0, 0.375]
    assert rows.strongest(1).texts == ['red']
    assert list(rows.strongest(1).weights) == [0]
    assert 'phrases' not in entries_from_sample(_sample().to_dict())[0]
    assert entry_phrases(entries_from_sample(_sample().to_dict())[0]) is None
