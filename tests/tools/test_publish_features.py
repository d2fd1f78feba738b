"""tools/data/README.md on features that are handed on."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from demul_mm.datasets import PackedStore
from tests.tools.running import ROOT, call

PAGE = (ROOT / 'tools' / 'data' / 'README.md').read_text()


def test_others_read_a_store_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path('one').mkdir()
    for name, length in (('b', 4), ('a', 3)):
        np.save(f'one/{name}.npy', rng.standard_normal((length, 6)))
    assert call('tools/data/pack_features.py', 'one', 'clip').code == 0
    assert sorted(path.name for path in Path('clip').iterdir()) == ['data.bin', 'manifest.json']
    (code,) = re.findall(r'```python\n(manifest = .*?)```', PAGE, re.DOTALL)
    found: dict = dict(json=json, np=np)
    exec(code, found)
    store = PackedStore('clip')
    assert list(found['features']) == list(store.ids()) == ['a', 'b']
    for name, rows in found['features'].items():
        np.testing.assert_array_equal(rows, store.load(name))
    told = re.search(r'\| `manifest.json` \| (.*) \|', PAGE)
    assert told
    assert set(re.findall(r'`(\w+)`', told[1])) == set(found['manifest'])
