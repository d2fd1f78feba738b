"""The parts of the pre-training of a small backbone."""

import json
from copy import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from demul_mm.models.backbones.clip_cnn import ClipCNN
from demul_mm.pretraining import Schedule, SentenceSplit, Trainer, frames, pretrain, training
from demul_mm.pretraining.frames import FrameCache
from demul_mm.pretraining.objective import SentenceMatcher, contrastive_loss
from demul_mm.pretraining.sentences import Vocabulary
from demul_mm.rendered import render_corpus
from demul_mm.video.clips import decode_clips

pytest.importorskip('av')

CLIPS = dict(clip_seconds=0.5, window_seconds=1.0, frames_per_clip=4, size=32)


class Stopped(Exception):
    pass


@pytest.fixture(scope='module')
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('corpus')
    return render_corpus(folder, train=5, val=2, seed=1, min_seconds=9, max_seconds=12)


def test_cached_clips_are_the_decoded_ones(corpus: Path, tmp_path: Path) -> None:
    files = [(p.stem, str(p)) for p in sorted((corpus / 'videos').glob('train*.mp4'))]
    cache = FrameCache(tmp_path, files, CLIPS, workers=0)
    for video_id, path in files:
        clips, duration = decode_clips(path, **CLIPS)
        cached = cache.gather(video_id)
        assert cached.shape == clips.shape
        assert len(clips) == cache.num_clips(video_id) == len(cache.middles(video_id))
        # Frames are kept at an even rate: one may be that of the moment before or after.
        assert (cached == clips).all((1, 3, 4)).mean() > 0.4
        assert np.abs(cached.astype(float) - clips).mean() < 2
        assert cache.middles(video_id)[-1] < duration
    some = np.array([4, 2])
    assert np.array_equal(cache.gather(files[0][0], some), cache.gather(files[0][0])[some])
    stamp = (tmp_path / 'frames.bin').stat().st_mtime_ns
    FrameCache(tmp_path, files, CLIPS, workers=0)
    assert (tmp_path / 'frames.bin').stat().st_mtime_ns == stamp


def test_a_cache_is_never_of_other_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    brightness = dict(a=10, b=200)
    broken: list[str] = []
    for name in brightness:
        (tmp_path / f'{name}.mp4').touch()

    def decode(path: str, size: int, **options: float) -> tuple[np.ndarray, float]:
        name = Path(path).stem
        if name in broken:
            raise Stopped
        return np.full((8, 3, 1, size, size), brightness[name], np.uint8), 4.0

    monkeypatch.setattr(frames, 'decode_clips', decode)
    files = [(name, str(tmp_path / f'{name}.mp4')) for name in brightness]
    first = FrameCache(tmp_path / 'cache', files, CLIPS, workers=0)
    broken.append('b')
    other = {**CLIPS, 'size': 64}
    with pytest.raises(Stopped):
        FrameCache(tmp_path / 'cache', files, other, workers=0)
    again = FrameCache(tmp_path / 'cache', files, CLIPS, workers=0)
    assert again.gather('b').min() == 200

    broken.clear()
    (tmp_path / 'b.mp4').write_bytes(b'another film')
    brightness['b'] = 90
    now = FrameCache(tmp_path / 'cache', files, CLIPS, workers=0)
    assert now.gather('b').max() == 90
    assert first.gather('b').min() == again.gather('b').min() == 200  # what was open stays


def test_vocabulary() -> None:
    sentences = ['The red disc spins.', 'The red ring spins', 'The blue disc leaves'] * 5
    vocabulary = Vocabulary(sentences)
    assert vocabulary.words == ['blue', 'disc', 'leaves', 'red', 'ring', 'spins', 'the']
    bags = vocabulary(['A red DISC!', 'nothing known'])
    weight = {w: float(x) for w, x in zip(vocabulary.words, bags[0])}
    assert weight['red'] == weight['disc'] == pytest.approx(0.5**0.5)
    assert weight['the'] == weight['blue'] == 0
    assert float(bags[1].abs().sum()) == 0
    assert vocabulary.weight[vocabulary.index['the']] == 0


def test_sentences_without_a_common_word_are_refused() -> None:
    few = ['a door opens', 'dogs jump', 'children run around', 'onions', 'she sings', 'he cooks']
    with pytest.raises(ValueError, match=r'no word is in 5 of the 6 sentences .*"a door opens"'):
        Vocabulary(few)
    assert Vocabulary(few * 5).words[:2] == ['a', 'around']


def test_contrastive_loss_equals_a_slow_one() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 6, generator=generator)
    positive = torch.rand(4, 6, generator=generator) > 0.6
    positive[:, 5] = False
    allowed = positive | (torch.rand(4, 6, generator=generator) > 0.3)
    by_clip, by_sentence = [], []
    for q in range(4):
        for b in range(6):
            if positive[q, b]:
                rivals = [logits[q, k] for k in range(6) if allowed[q, k] and not positive[q, k]]
                both = torch.stack([logits[q, b], *rivals]).logsumexp(0)
                by_clip.append(both - logits[q, b])
    for b in range(6):
        if positive[:, b].any():
            right, offered = logits[positive[:, b], b], logits[allowed[:, b], b]
            by_sentence.append(offered.logsumexp(0) - right.logsumexp(0))
    expected = torch.stack(by_clip).mean() + 0.5 * torch.stack(by_sentence).mean()
    assert torch.allclose(contrastive_loss(logits, positive, allowed), expected, atol=1e-5)
    nothing = contrastive_loss(logits.requires_grad_(), positive & False, allowed)
    assert nothing.item() == 0
    nothing.backward()


def test_matcher_learns_a_batch() -> None:
    torch.manual_seed(0)
    cells = torch.nn.functional.normalize(torch.randn(6, 8, 5), dim=1)
    bags, positive = torch.eye(6), torch.eye(6).bool()
    matcher = SentenceMatcher(6, 8)
    optimizer = torch.optim.Adam(matcher.parameters(), lr=0.02)
    for _ in range(150):
        loss = contrastive_loss(matcher(cells, bags), positive, torch.ones(6, 6).bool())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (matcher(cells, bags).argmax(1) == torch.arange(6)).all()


def test_a_corpus_of_one_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    """One response has no spread; those of more clips have that of a sample."""
    model = ClipCNN(num_frames=4, out_dim=8, widths=[8, 8, 8])
    matcher = SentenceMatcher(6, model.embed_dim)
    for clips in (1, 3):
        responses = torch.randn(clips, 8)
        monkeypatch.setattr(training, 'respond', lambda *_, given=responses: given)
        training.set_prototypes(model, matcher, [None], torch.eye(6), seed=0)
        assert torch.equal(model.mean, responses.mean(0))
        spread = responses.std(0) if clips > 1 else torch.full((8,), 1e-3)
        assert torch.equal(model.std, spread)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(queries=[dict(query='a disc')]), "query 0.*: key 'spans' is missing"),
        (dict(queries=[dict(query='a disc', spans=[[1]])]), r'query 0.*: span \[1\]'),
        (dict(video=3), "'video' is 3, expected str"),
        (dict(video_id=3), "'video_id' is 3, expected str"),
    ],
)
def test_a_faulty_annotation_is_named(change: dict, message: str, tmp_path: Path) -> None:
    query = dict(query='a disc', spans=[[0, 1]])
    row = dict(video_id='a', duration=3.0, video='a.mp4', queries=[query])
    path = tmp_path / 'a.jsonl'
    path.write_text(f'{json.dumps(row)}\n{json.dumps({**row, "video_id": "b", **change})}\n')
    with pytest.raises(ValueError, match=rf'a\.jsonl: line 2.*{message}'):
        SentenceSplit(path, CLIPS, tmp_path / 'frames', video_root=None, workers=0)


def test_a_stopped_training_ends_as_one_that_was_not(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = SentenceSplit(
        corpus / 'train.jsonl', CLIPS, tmp_path / 'frames', video_root=None, workers=0
    )
    vocabulary = Vocabulary([s for sentences in split.sentences for s in sentences])
    schedule = Schedule(steps=5, videos=2, clips=4)
    monkeypatch.setattr(training, 'SAVE_EVERY', 2)
    pretrain(split, vocabulary, schedule, tmp_path / 'whole.pth', dim=8)

    def stop_at_the_fourth(self: Trainer) -> float:
        if self.done == 3:
            raise Stopped
        return step(self)

    step = Trainer.step
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, 'step', stop_at_the_fourth)
        with pytest.raises(Stopped):
            pretrain(split, vocabulary, schedule, tmp_path / 'stopped.pth', dim=8)
    state = tmp_path / 'stopped.pth.state'
    assert torch.load(state, weights_only=True)['done'] == 2
    with pytest.raises(ValueError, match=r"'steps': 5.*'steps': 6"):
        pretrain(split, vocabulary, replace(schedule, steps=6), tmp_path / 'stopped.pth', dim=8)
    other = copy(split)
    other.frames = copy(split.frames)
    other.frames.clips = {**CLIPS, 'size': 16}
    reworded = Vocabulary(vocabulary.words * 5)
    for data, words, dim in ((other, vocabulary, 8), (split, reworded, 8), (split, vocabulary, 9)):
        with pytest.raises(ValueError, match=r'stopped\.pth\.state is of a training with'):
            pretrain(data, words, schedule, tmp_path / 'stopped.pth', dim=dim)
    with pytest.raises(ValueError, match=r"'clips': 4.*'clips': 5"):
        pretrain(split, vocabulary, replace(schedule, clips=5), tmp_path / 'stopped.pth', dim=8)
    pretrain(split, vocabulary, schedule, tmp_path / 'stopped.pth', dim=8)
    assert not state.exists()
    whole, stopped = (
        torch.load(tmp_path / f'{name}.pth', weights_only=True)['state_dict']
        for name in ('whole', 'stopped')
    )
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
