"""The scores of what is found in a corpus."""

import pytest

from demul_mm.index import ExactIndex
from demul_mm.models.heads import TERMS
from demul_mm.retrieval import CorpusSearcher, SearchOptions, encode_queries, localize_pairs
from demul_mm.retrieval.entries import make_entry
from tests.models.tiny import LEVELS
from tests.retrieval.test_encodings import longer_clips


@pytest.mark.parametrize('words_weight', [0.0, 0.3])
def test_scores_are_probabilities_with_words_and_suppression(words_weight: float) -> None:
    """Words at the weight of the video's likeness; what suppression lowered stays lower."""
    data, videos, model = longer_clips()
    model.calibrator.bias.fill_(-8.0)  # or all were about 1
    model.head.joint.words_weight.fill_(words_weight)
    index = ExactIndex()
    index.build([make_entry(video, LEVELS) for video in videos])
    by_id = {video.video_id: video for video in videos}
    searcher = CorpusSearcher(model, index, lambda ids: {i: by_id[i] for i in ids}, None)
    sentence = data['data_samples'][1].queries[0]
    queries = encode_queries(model, [sentence])
    options = SearchOptions(num_moments=50, num_videos=1, num_fused=3)
    ((answer,), _) = searcher.search(queries, options, sentences=[sentence])
    assert len(answer.fused) == 3  # never fewer than are asked for
    (found,) = localize_pairs(model, videos, queries, [[0, 1, 2]])
    likeness = dict(zip(answer.hits.videos, answer.hits.word_scores.tolist()))
    assert any(likeness.values()) == bool(words_weight)
    weight = model.head.joint.weights[TERMS.index('video')].item()
    expected = []
    for video, moments in zip(videos, found):
        words = weight * likeness[video.video_id]
        lowered = moments.scores / model.calibrator(moments.joint)
        expected += (model.calibrator(moments.joint + words) * lowered).tolist()
        mine = [m for m in answer.moments if m.video_id == video.video_id]
        assert [m.terms.get('words', 0.0) for m in mine] == pytest.approx([words] * len(mine))
    scores = [moment.score for moment in answer.moments]
    assert scores == pytest.approx(sorted(expected, reverse=True), rel=1e-3)
