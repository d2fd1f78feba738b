"""Subtitles to features, as a user makes them."""

import json
import zipfile

import numpy as np
import pytest

from demul_mm.datasets import PackedStore, validate_jsonl
from tests.tools.running import call


def run(*args: object) -> tuple[int, str]:
    done = call('tools/data/encode_subtitles.py', *args)
    return done.code, done.out + done.err


def line(video: str, *said: tuple[float, float, str]) -> str:
    rows = [{'start': start, 'end': end, 'text': text} for start, end, text in said]
    return json.dumps({'vid_name': video, 'sub': rows})


def test_store_of_a_jsonl_is_resumed_and_broken_lines_are_listed(tmp_path):
    source, out = tmp_path / 'subs.jsonl', tmp_path / 'out'
    first = [line('a', (0, 2, 'Pass the salt.'), (6, 7.5, 'Thank you.')), line('silent')]
    source.write_text('\n'.join([*first, line('bad', (3, 1, 'x'))]))
    code, output = run(source, out)
    assert code == 1
    assert '1 left out' in output
    assert 'line 3, subtitle 0: shown from 3 to 1 s' in output
    assert '1 videos, 384 values a row; 1 without any text' in output
    kept = PackedStore(str(out)).load('a')
    source.write_text('\n'.join([*first, line('bad', (1, 3, 'Thank you.'))]))
    code, _ = run(source, out)
    assert code == 0
    store = PackedStore(str(out), dim=384)
    assert store.clip_seconds == 1.5
    assert list(store.ids()) == ['a', 'bad']
    assert 'silent' not in store
    rows = store.load('a')
    np.testing.assert_array_equal(rows, kept)
    assert rows.shape == (5, 384)
    norms = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(norms, [1, 1, 0, 0, 1], atol=2e-3)
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-3)
    np.testing.assert_allclose(store.load('bad')[1], rows[4], atol=1e-3)  # the same words
    assert rows[0] @ rows[4] < 0.6


def test_a_folder(tmp_path):
    folder = tmp_path / 'srt'
    folder.mkdir()
    (folder / 'film.srt').write_text(f'1\n00:00:00,000 --> 00:00:01,000\nHello{" you" * 70}\n')
    code, output = run(folder, tmp_path / 'out', '--clip-seconds', 1, '--dtype', 'float32')
    assert code == 0
    assert '1 texts are longer than the 64 tokens' in output
    store = PackedStore(str(tmp_path / 'out'))
    assert store.shape('film') == (1, 384)
    assert store.provenance['lm'] == 'minilm'
    assert np.linalg.norm(store.load('film')) == pytest.approx(1, abs=1e-5)


def test_words_each_for_itself(tmp_path):
    source, words = tmp_path / 'subs.jsonl', tmp_path / 'words'
    source.write_text(line('a', (0, 1.5, 'Salt the soup.'), (3, 4.5, 'The soup, salt.')))
    assert run(source, words, '--bare-words')[0] == 0
    store = PackedStore(str(words), dim=256)
    first, silent, last = store.load('a')
    np.testing.assert_allclose(first, last, atol=2e-3)  # whatever their order means
    assert not silent.any()
    assert store.provenance['lm'] == 'bare words of minilm'
    code, output = run(source, words)  # the sentences' meaning does not go into that store
    assert code == 2
    assert 'dim=256' in output


def test_which_words_are_said_one_after_another(tmp_path):
    source, out = tmp_path / 'subs.jsonl', tmp_path / 'hashed'
    source.write_text(line('a', (0, 1.5, 'Salt the soup.'), (1.5, 4.5, 'The soups, salted, soup!')))
    assert run(source, out, '--hashed-words')[0] == 0
    store = PackedStore(str(out))
    first, second, third = store.load('a') > 0
    assert first.shape == (1024,)
    assert (first.sum(), second.sum(), third.sum()) == (3, 2, 2)  # the soups; salted, soup
    np.testing.assert_array_equal(second | third, first)
    assert (second & third).sum() == 1
    assert store.provenance['lm'] == 'hashed words, in turn, of minilm'


def test_captions_of_clips_in_a_zip(tmp_path):
    source, out = tmp_path / 'captions.zip', tmp_path / 'out'
    rows = [{'moment': i, 'description': text} for i, text in enumerate(['A dog.', 'A cat.'])]
    with zipfile.ZipFile(source, 'w') as archive:
        archive.writestr('val/', '')
        archive.writestr('val/a_0.0_4.0.jsonl', '\n'.join(map(json.dumps, rows)) + '\n')
        archive.writestr('val/b.jsonl', json.dumps({**rows[0], 'moment': 1}))
        archive.writestr('val/c.jsonl', json.dumps({'moment': 0}))
    code, output = run(source, out, '--clip-seconds', 2)
    assert code == 1
    assert "c.jsonl: line 1: key 'description' is missing" in output
    store = PackedStore(str(out))
    assert (store.clip_seconds, list(store.ids())) == (2, ['a_0.0_4.0', 'b'])
    dog, cat = store.load('a_0.0_4.0')
    assert dog @ cat < 0.9
    # Encoded once, though it is said in two videos.
    np.testing.assert_array_equal(store.load('b'), [np.zeros(384), dog])


def test_a_file_of_annotations_with_what_is_said(tmp_path):
    source = tmp_path / 'videos.jsonl'
    query = {'query': 'he stirs', 'spans': [[0, 2]]}
    row = {'video_id': 'a', 'duration': 5, 'queries': [query], 'subtitles': [[1, 3, 'Stir it.']]}
    source.write_text(json.dumps(row))
    assert run(source, tmp_path / 'out', '--clip-seconds', 2)[0] == 0
    first, second, silence = PackedStore(str(tmp_path / 'out')).load('a')
    np.testing.assert_array_equal(first, second)
    assert not silence.any()
    assert validate_jsonl(str(source)) == []


def test_two_files_of_one_video_are_not_taken_for_one(tmp_path):
    folder = tmp_path / 'srt'
    folder.mkdir()
    for suffix, text in (('srt', 'Hello.'), ('vtt', 'Goodbye.')):
        content = f'1\n00:00:00,000 --> 00:00:01,000\n{text}\n'
        (folder / f'film.{suffix}').write_text(content)
    code, output = run(folder, tmp_path / 'out')
    assert code == 1
    assert "video 'film' occurs twice; the second is left out" in output
    assert list(PackedStore(str(tmp_path / 'out')).ids()) == ['film']


def test_wrong_arguments_and_help(tmp_path):
    assert run(tmp_path / 'none', tmp_path / 'out')[0] == 2
    assert run(tmp_path, tmp_path / 'out', '--clip-seconds', 0)[0] == 2
    code, output = run('--help')
    assert code == 0
    assert 'python tools/data/encode_subtitles.py' in output
