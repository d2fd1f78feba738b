"""Splitting, stacking and keeping encodings."""

from pathlib import Path

import pytest
import torch

from demul_mm.models.localizers import DeMUL
from demul_mm.models.task_modules import PointGenerator
from demul_mm.models.task_modules.points import padded_length
from demul_mm.retrieval import (
    EncodedVideo,
    EncodingCache,
    encode_batch,
    localize_pairs,
    split_encoding,
    stack_encodings,
)
from demul_mm.retrieval.encodings import cell_indices
from demul_mm.retrieval.entries import make_entry
from tests.models.tiny import (
    LEVELS,
    SENTENCES,
    WORD_MATCH,
    only,
    predictions_of,
    tiny_data,
    tiny_model,
    with_words,
)

CLOSE = dict(rtol=1e-4, atol=1e-4)
DATA = tiny_data((13, 8, 20, 1, 33), (1, 1, 1, 1, 1))


@pytest.fixture(scope='module')
def model() -> DeMUL:
    model = tiny_model()
    for name, parameter in model.neck.named_parameters():
        if name.endswith(('alpha', 'beta')):  # open the gates, so that fusion takes part
            parameter.data.fill_(0.5)
    return model


@pytest.fixture(scope='module')
def videos(model: DeMUL) -> list[EncodedVideo]:
    return encode_batch(model, DATA)


def longer_clips() -> tuple[dict, list[EncodedVideo], DeMUL]:
    """Videos with clips that cover more than the video lasts."""
    model = tiny_model(test_cfg=dict(nms=dict(type='SoftNMS')))
    data = tiny_data((13, 8, 20), (1, 1, 1))
    for sample in data['data_samples']:
        sample.set_metainfo(dict(extent=1.25 * sample.duration, meta=dict(text=sample.queries[0])))
    return data, encode_batch(model, data), model


def test_cells_keep_their_place_when_a_video_is_padded() -> None:
    for length, total in ((8, 8), (8, 24), (16, 40)):
        points = PointGenerator(LEVELS)
        small, large = points(length), points(total)
        cells = cell_indices(length, total, LEVELS)
        assert len(cells) == len(small.centers)
        torch.testing.assert_close(large.centers[cells], small.centers)
        torch.testing.assert_close(large.strides[cells], small.strides)
        assert padded_length(len(small.centers), LEVELS) == length


def test_splitting_then_stacking_gives_the_batch_back(model: DeMUL) -> None:
    data = model.data_preprocessor(DATA, False)
    with torch.no_grad():
        whole = model.encode_video(data['inputs'])
    again = stack_encodings(split_encoding(whole, LEVELS), LEVELS)
    keep = whole.mask
    assert again.mask.equal(keep)
    for name in ('shared', 'spans'):
        one, two = getattr(again, name), getattr(whole, name)
        torch.testing.assert_close(one[keep], two[keep], rtol=0, atol=0)
    torch.testing.assert_close(again.points, whole.points, rtol=0, atol=0)
    assert again.num_clips.equal(whole.num_clips)


def test_words_are_split_stacked_and_kept(tmp_path: Path) -> None:
    model, data = tiny_model(**WORD_MATCH), with_words(DATA)
    with torch.no_grad():
        whole = model.encode_video(model.data_preprocessor(data, False)['inputs'])
    assert whole.said.any(-1).any(-1).all()
    videos = encode_batch(model, data)
    assert [video.encoding.said.shape[1] for video in videos] == [16, 8, 24, 8, 40]
    assert stack_encodings([video.encoding for video in videos], LEVELS).said.equal(whole.said)
    EncodingCache('words', folder=tmp_path).put('c', videos[2])
    kept = EncodingCache('words', folder=tmp_path).get('c')
    assert kept is not None
    assert kept.encoding.said.equal(videos[2].encoding.said)


def test_a_video_is_kept_at_its_own_length(videos: list[EncodedVideo]) -> None:
    lengths = [padded_length(video.num_cells, LEVELS) for video in videos]
    assert lengths == [16, 8, 24, 8, 40]
    assert [video.duration for video in videos] == [26.0, 16.0, 40.0, 2.0, 66.0]


def test_localizing_does_not_depend_on_the_company(
    model: DeMUL, videos: list[EncodedVideo]
) -> None:
    """Alone, beside longer videos, or in passes of one query: the same moments."""
    with torch.no_grad():
        queries = model.encode_query(list(SENTENCES))
    wanted = [[0], [1, 3], [2], [], [4]]
    together = localize_pairs(model, videos, queries, wanted)
    assert [len(row) for row in together] == [1, 2, 1, 0, 1]
    row = torch.tensor([0])
    for v, q in ((0, 0), (2, 2), (4, 4)):
        alone = encode_batch(model, only(DATA, v))
        ((found,),) = localize_pairs(model, alone, queries.select(row + q), [[0]])
        torch.testing.assert_close(found.spans, together[q][0].spans, **CLOSE)
        torch.testing.assert_close(found.scores, together[q][0].scores, **CLOSE)


def test_seconds_are_of_the_clips_and_end_with_the_video() -> None:
    data, videos, model = longer_clips()
    queries = model.encode_query([sample.queries[0] for sample in data['data_samples']])
    found = localize_pairs(model, videos, queries, [[0], [1], [2]])
    for video, (one,), sample in zip(videos, found, predictions_of(model, data)):
        torch.testing.assert_close(one.spans, sample.pred_moments[0].spans, **CLOSE)
        keep = video.encoding.mask[0]
        given = video.encoding.spans[0][keep] * 1.25 * video.duration
        assert bool((given > video.duration).any())
        spans = torch.from_numpy(make_entry(video, LEVELS).spans)
        torch.testing.assert_close(spans, given.clamp(max=video.duration))


def test_cache_forgets_the_least_used(videos: list[EncodedVideo]) -> None:
    cache = EncodingCache('model', max_videos=2)
    for key, video in zip('ab', videos):
        cache.put(key, video)
    assert cache.get('a') is videos[0]
    cache.put('c', videos[2])
    assert cache.get('b') is None
    assert (cache.get('a'), cache.get('c')) == (videos[0], videos[2])


def test_cache_on_disk_returns_what_put_returned(
    videos: list[EncodedVideo], tmp_path: Path
) -> None:
    put = EncodingCache('model', folder=tmp_path).put('a', videos[0]._replace(meta=dict(tag=1)))
    got = EncodingCache('model', folder=tmp_path).get('a')
    assert got is not None
    assert got[:3] == put[:3]
    assert got.meta == dict(tag=1)
    for one, two in zip(got.encoding, put.encoding):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
    torch.testing.assert_close(got.encoding.points, videos[0].encoding.points, rtol=1e-3, atol=1e-3)
    assert EncodingCache('other', folder=tmp_path).get('a') is None
    assert [file.suffix for file in tmp_path.iterdir()] == ['.safetensors']
