"""The tools, as a user runs them."""

import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from demul_mm.index import MomentIndex
from demul_mm.index.vectors import VectorFolder, write_vectors

from .corpus import make_entries

TOOLS = Path(__file__).parents[2] / 'tools' / 'index'


class Runner:
    """Runs a tool as a script would run, but in this process."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        patch.syspath_prepend(str(TOOLS))
        self._patch = patch
        self._capture = capture

    def __call__(self, tool: str, *args: object, fails: bool = False) -> str:
        self._patch.setattr(sys, 'argv', [tool, *map(str, args)])
        if not fails:
            runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='__main__')
            return self._capture.readouterr().out
        with pytest.raises(SystemExit) as caught:
            runpy.run_path(str(TOOLS / f'{tool}.py'), run_name='__main__')
        return str(caught.value)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(monkeypatch, capsys)


def test_vector_folders(tmp_path: Path) -> None:
    entries = make_entries(20)
    write_vectors(tmp_path / 'a.safetensors', entries[:12], 'weights-1')
    write_vectors(tmp_path / 'b.safetensors', entries[12:18], 'weights-1')
    for entry in entries[18:]:
        header = dict(duration='60.0', model_fingerprint='weights-1')
        if entry.metadata:
            header['metadata'] = json.dumps(entry.metadata)
        tensors = dict(moments=entry.moments, spans=entry.spans)
        save_file(tensors, tmp_path / f'{entry.video_id}.safetensors', header)
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


def test_tools_from_build_to_info(tmp_path: Path, run: Runner) -> None:
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
    hits = tmp_path / 'hits.json'
    run('search', index, '--queries', queries, '--mode', 'exact', '--nms', 0.5, '--out', hits)
    best = json.loads(hits.read_text())[0]['moments'][0]
    assert best[0] == 'w5'
    assert best[3] == pytest.approx(1, abs=0.01)
    assert '2 videos removed' in run('remove', index, 'w5', 'v1', '--compact')
    assert 'not in the index' in run('remove', index, 'w5', fails=True)
    assert json.loads(run('info', index, '--json'))['videos'] == 47
    assert 'all checksums match' in run('info', index)
    path = next((index / 'segments').glob('*/spans.bin'))
    path.write_bytes(path.read_bytes()[:-3])
    assert 'where the manifest says' in run('info', index, fails=True)
    assert 'give either --vectors' in run('build', tmp_path / 'x', fails=True)
