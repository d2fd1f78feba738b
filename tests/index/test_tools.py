"""The tools, as a user runs them."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from demul_mm.index import MomentIndex
from demul_mm.index.vectors import VectorFolder, read_queries, write_queries, write_vectors
from tests.apis.small import make_small_corpus
from tests.tools.running import call

from .corpus import make_entries, make_queries


def run(tool: str, *args: object, fails: bool = False) -> str:
    """What a tool prints, or what it says is wrong."""
    done = call(f'tools/index/{tool}.py', *args)
    assert done.code == (2 if fails else 0), done.err
    return done.err if fails else done.out


def test_vector_folders(tmp_path: Path) -> None:
    entries = make_entries(20)
    write_vectors(tmp_path / 'a.safetensors', entries[:12], 'weights-1')
    write_vectors(tmp_path / 'b.safetensors', entries[12:18], 'weights-1')
    for entry in entries[18:]:
        write_vectors(tmp_path / f'{entry.video_id}.safetensors', [entry], 'weights-1')
    folder = VectorFolder(tmp_path)
    assert folder.fingerprints == dict(model_fingerprint='weights-1', feature_fingerprint='')
    assert folder.ids() == [entry.video_id for entry in entries]
    for entry, loaded in zip(entries, folder.load(folder.ids())):
        np.testing.assert_allclose(loaded.moments, entry.moments, atol=1e-3)
        np.testing.assert_array_equal(loaded.spans, entry.spans)
        assert (loaded.duration, loaded.metadata) == (entry.duration, entry.metadata)
    write_vectors(tmp_path / 'c.safetensors', entries[:1], 'weights-1')
    with pytest.raises(ValueError, match="both hold video 'v0'"):
        VectorFolder(tmp_path)
    write_vectors(tmp_path / 'c.safetensors', make_entries(1, 'x'), 'weights-2')
    with pytest.raises(ValueError, match='one index needs vectors of one model'):
        VectorFolder(tmp_path)
    (tmp_path / 'c.safetensors').write_bytes(b'nothing')
    with pytest.raises(ValueError, match='not a readable safetensors file'):
        VectorFolder(tmp_path)
    with pytest.raises(FileNotFoundError, match='holds no'):
        VectorFolder(tmp_path / 'absent')


def test_tools_from_build_to_info(tmp_path: Path) -> None:
    old, new, index = tmp_path / 'old', tmp_path / 'new', tmp_path / 'index'
    write_vectors(old / 'part.safetensors', make_entries(40), 'weights-1')
    write_vectors(new / 'part.safetensors', make_entries(9, 'w'), 'weights-1')
    queries = tmp_path / 'queries.safetensors'
    save_file(dict(queries=make_entries(9, 'w')[5].moments[:1]), queries)

    assert '40 videos' in run('build', index, '--vectors', old, '--options', 'num_prototypes=3')
    assert MomentIndex.open(index).stats()['num_prototypes'] == 3
    assert 'holds an index of 40 videos' in run('build', index, '--vectors', old, fails=True)
    assert '49 videos' in run('add', index, '--vectors', new)
    assert "'w0' is in the index already" in run('add', index, '--vectors', new, fails=True)
    out = run('search', index, '--queries', queries, '--top', 3, '--where', 'views>4')
    assert out.splitlines()[1].split()[-1] == 'w5'
    assert out.splitlines()[0] == 'query 0'
    for mark, fails in (('weights-1', False), ('', False), ('weights-2', True)):
        write_queries(tmp_path / 'q', make_queries(2), ['one', 'two'], [], mark)
        out = run('search', index, '--queries', tmp_path / 'q', '--top', 1, fails=fails)
        assert ('was made with model' in out) if fails else (out.splitlines()[0] == 'one')
    hits = tmp_path / 'hits.json'
    run('search', index, '--queries', queries, '--mode', 'exact', '--nms', 0.5, '--out', hits)
    best = json.loads(hits.read_text())[0]['moments'][0]
    assert best[0] == 'w5'
    assert best[3] == pytest.approx(1, abs=0.01)
    assert '2 videos removed' in run('remove', index, 'w5', 'v1', '--compact')
    assert 'not in the index' in run('remove', index, 'w5', fails=True)
    assert json.loads(run('info', index, '--json'))['videos'] == 47
    assert 'all checksums match' in run('info', index)
    path = next((index / 'videos.lance' / 'data').iterdir())
    path.write_bytes(path.read_bytes()[:-3])
    assert 'does not match its checksum' in run('info', index, fails=True)
    assert 'give either --vectors' in run('build', tmp_path / 'x', fails=True)


def test_conditions_have_the_types_of_the_metadata(tmp_path: Path) -> None:
    metadata = [dict(camera='007', live=False), dict(camera='7', live=True), None]
    entries = [replace(e, metadata=values) for e, values in zip(make_entries(3), metadata)]
    write_vectors(tmp_path / 'vectors' / 'part.safetensors', entries)
    queries = tmp_path / 'queries.safetensors'
    save_file(dict(queries=entries[2].moments[:1]), queries)
    index = tmp_path / 'index'
    run('build', index, '--vectors', tmp_path / 'vectors')
    search = ('search', index, '--queries', queries, '--where')
    for condition, video in (('camera==007', 'v0'), ('live==true', 'v1'), ('camera in 7, 8', 'v1')):
        hits = run(*search, condition).splitlines()[1:-1]
        assert {line.split()[-1] for line in hits} == {video}
    unknown = run(*search, 'kamera==007', fails=True)
    assert "no video has metadata 'kamera'; there are camera, live" in unknown
    assert "'live' is of type bool" in run(*search, 'live>maybe', fails=True)


def test_tools_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = make_small_corpus(tmp_path / 'corpus')
    annotations = tmp_path / 'corpus' / 'corpus.jsonl'
    annotations.write_text(annotations.read_text().replace('"spans": []', '"spans": [[1.0, 3.0]]'))
    model, vectors, index = (corpus.config, corpus.checkpoint), tmp_path / 'vectors', tmp_path / 'i'
    queries = tmp_path / 'queries.safetensors'
    export = ('export', vectors, *model, '--queries', queries, '--videos-per-file', 3)
    assert '7 videos' in run(*export)
    assert sorted(file.name for file in vectors.iterdir()) == [
        f'part-{i:06d}.safetensors' for i in range(3)
    ]
    (vectors / 'part-000002.safetensors').unlink()  # as if killed
    before = (vectors / 'part-000000.safetensors').stat().st_mtime_ns
    assert '7 videos' in run(*export)
    assert (vectors / 'part-000000.safetensors').stat().st_mtime_ns == before
    assert len(VectorFolder(vectors).ids()) == 7
    (vectors / 'part-000000.safetensors').unlink()  # as if damaged
    assert '7 videos' in run(*export)
    assert len(VectorFolder(vectors).ids()) == 7
    written = read_queries(queries)
    assert written.vectors.shape[0] == 7
    assert written.truth is not None
    assert written.truth[2] == ('v2', 1.0, 3.0)
    inside = ('export', vectors, *model, '--queries', vectors / 'q.safetensors')
    assert 'lies among the vectors' in run(*inside, fails=True)
    other = ('export', vectors, *model, '--levels', 0)
    assert 'choose another folder' in run(*other, fails=True)
    assert '7 videos' in run('build', index, '--vectors', vectors)
    told = run('search', index, '--queries', queries, '--top', 1).splitlines()
    assert told[0] == json.loads(annotations.read_text().splitlines()[0])['queries'][0]['query']

    lines = 'yes 2\nlater than 0:04\nbanana\nundo 2\nquit\n'
    monkeypatch.setattr(sys, 'stdin', io.StringIO(lines))
    saved = tmp_path / 'session.json'
    words = ('--text', 'a red disc', '--top', 3, '--interactive', '--out', saved)
    out = run('search', index, *model, *words)
    assert 'when: from 4 s' in out
    assert "'banana' is not understood" in out
    shown = [part for part in out.split('"a red disc"')[1:]]
    assert shown[0].splitlines()[:4] == shown[-1].splitlines()[:4]  # all was undone
    assert json.loads(saved.read_text())['text'] == 'a red disc'
    assert 'one --text' in run('search', index, *model, '--interactive', fails=True)
    options = ('--cfg-options', 'test_dataloader.dataset.ann_fil=x')
    assert 'ann_file' in run('search', index, *model, '--text', 'a', *options, fails=True)


def test_what_is_left_out_is_listed_and_the_exit_code_1(tmp_path: Path) -> None:
    corpus = make_small_corpus(tmp_path / 'corpus')
    model, index = (corpus.config, corpus.checkpoint), tmp_path / 'index'
    features = corpus.root / 'features'
    whole = (features / 'v1.npy').read_bytes()
    np.save(features / 'v1.npy', np.full_like(corpus.features['v1'], np.nan))
    files = [features / f'{name}.npy' for name in ('v1', 'v2')]
    add = ('tools/index/add.py', index, *model, '--on-existing', 'skip')
    tools = [
        ('tools/index/build.py', index, *model),
        ('tools/index/export.py', tmp_path / 'vectors', *model),
        add,
        ('tools/localize.py', *model, *files, '--query', 'a', '--duration', 16, 40),
    ]
    for tool in tools:
        done = call(*tool)
        assert done.code == 1
        assert 'v1' in done.out + done.err
        assert 'hold NaN' in done.out + done.err
    (features / 'v1.npy').write_bytes(whole)
    assert call(*add).code == 0
    assert MomentIndex.open(index).stats()['videos'] == 7
