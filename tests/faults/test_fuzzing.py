"""Whatever comes in is answered by a result or by one clear error of ours.

Each kind of input is mutated: files by their bytes, values by other values of JSON and Python. An
answer takes less than 10 s; an error has the form that the command line shows without a traceback.
"""

import copy
import json
import resource
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from safetensors.numpy import save_file

from demul_mm.apis.arguments import as_durations, as_features, as_queries, as_videos
from demul_mm.cli.entry import USER_ERRORS, _is_users
from demul_mm.cli.options import apply_options
from demul_mm.datasets import (
    ActivityNetCaptionsDataset,
    FolderStore,
    HDF5Store,
    JsonlMomentDataset,
    LMDBStore,
    PackedStore,
    PackedWriter,
    QVHighlightsDataset,
)
from demul_mm.datasets.subtitles import read_timed_text
from demul_mm.engine.checkpoint import read_checkpoint
from demul_mm.evaluation.predictions import load_predictions
from demul_mm.files import read_list
from demul_mm.index import FaissIndex, MomentIndex
from demul_mm.video.clips import decode_clips
from tests.index.corpus import make_entries, make_queries

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
EACH = 100
FUZZ = settings(
    max_examples=EACH,
    deadline=10_000,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
COUNT: dict[str, list[str]] = {}
MEMORY = 2 << 30

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(['', '../x', '12', 'a', '\ud800', '\u2028', '\x00', 'nan', '1e999'])
)
boxes = st.dictionaries
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | boxes(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def answer(kind: str, ask: Callable[[], object]) -> None:
    """Ask, and check what an error is like."""
    told = COUNT.setdefault(kind, [])
    error = None
    try:
        ask()
    except USER_ERRORS as problem:
        error = problem
    message = '' if error is None else str(error)
    if error is not None:
        line = traceback.extract_tb(error.__traceback__)[-1].line or ''
        on_purpose = line.startswith('raise ') and _is_users(error)
        if not (on_purpose and message.strip() and '\n' not in message):
            raise error
    told.append(message)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert peak < MEMORY, f'{peak:,} bytes'


@st.composite
def damages(draw: st.DrawFn) -> list[tuple[str, float, bytes]]:
    """How bytes are changed: the change, where as a share of the length, and with what."""
    kinds = st.sampled_from(['overwrite', 'insert', 'cut', 'end', 'swap'])
    change = st.tuples(kinds, st.floats(0, 1), st.binary(min_size=1, max_size=8))
    return draw(st.lists(change, min_size=1, max_size=4))


def damaged(content: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    for kind, share, new in changes:
        at = int(share * len(content))
        if kind == 'overwrite':
            content = content[:at] + new + content[at + len(new) :]
        elif kind == 'insert':
            content = content[:at] + new + content[at:]
        elif kind == 'cut':
            content = content[:at] + content[at + 16 * len(new) :]
        elif kind == 'swap':
            content = content[at:] + content[:at] if len(new) == 1 else new * (len(content) % 99)
        else:
            content = content[:at]
    return content


ROW = {
    'video_id': 'a',
    'duration': 20.0,
    'video': 'a.mp4',
    'queries': [{'query': 'a dog runs', 'query_id': 'q', 'spans': [[1.0, 5.0]]}],
    'meta': {},
}
QUERY_ROW = {
    'qid': 1,
    'query': 'a dog runs',
    'vid': 'a',
    'duration': 20,
    'relevant_windows': [[0, 4]],
    'relevant_clip_ids': [0, 1],
    'saliency_scores': [[1, 2, 3], [2, 2, 2]],
}
ANET = {'a': {'duration': 20.0, 'timestamps': [[1, 5]], 'sentences': ['a dog runs']}}
TIMED = {'video_id': 'a', 'subtitles': [{'start': 0, 'end': 2, 'text': 'hello'}], 'duration': 9}
PREDICTED = {
    'format': 'demul_mm.predictions',
    'version': 1,
    'meta': {},
    'predictions': [],
}
ANNOTATIONS: dict[str, tuple[dict, Callable[[str], object]]] = {
    'jsonl': (ROW, lambda path: JsonlMomentDataset(path, split='train')[0]),
    'qvhighlights': (QUERY_ROW, lambda path: QVHighlightsDataset(path, split='train')[0]),
    'activitynet': (ANET, lambda path: ActivityNetCaptionsDataset(path, split='train')[0]),
    'subtitles': (TIMED, lambda path: list(read_timed_text(path, 1.5))),
    'predictions': (PREDICTED, load_predictions),
}


def places(node: Any, path: tuple = ()) -> list[tuple]:
    """The paths to all values of a JSON object."""
    found = [path] if path else []
    if isinstance(node, (dict, list)):
        for key in node if isinstance(node, dict) else range(len(node)):
            found += places(node[key], (*path, key))
    return found


def with_value(node: dict, path: tuple, value: Any) -> dict:
    changed = copy.deepcopy(node)
    inner: Any = changed
    for key in path[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[path[-1]]
    else:
        inner[path[-1]] = value
    return changed


@pytest.mark.parametrize('form', ANNOTATIONS)
def test_values_of_annotations(form: str, tmp_path: Path) -> None:
    row, ask = ANNOTATIONS[form]

    @FUZZ
    @given(st.sampled_from(places(row)), values | st.just(...))
    def fuzz(path: tuple, value: Any) -> None:
        file = tmp_path / 'a.jsonl'
        file.write_text(json.dumps(with_value(row, path, value)))
        answer('annotations', lambda: ask(str(file)))

    fuzz()


@pytest.mark.parametrize('form', ['jsonl', 'subtitles', 'list', 'srt'])
def test_bytes_of_text_files(form: str, tmp_path: Path) -> None:
    timed = '1\n00:00:01,000 --> 00:00:04,000\na dog runs\n\n2\n00:00:05,000 --> 00:00:06,000\nit\n'
    content = json.dumps(ANNOTATIONS[form][0]) if form in ANNOTATIONS else timed
    (tmp_path / 'said').mkdir()

    @FUZZ
    @given(damages())
    def fuzz(changes: list) -> None:
        file = tmp_path / 'said' / ('a.srt' if form == 'srt' else 'a.jsonl')
        file.write_bytes(damaged(content.encode(), changes))
        if form == 'list':
            answer('text', lambda: read_list(file))
        elif form == 'srt':
            answer('text', lambda: list(read_timed_text(str(file.parent), 1.5)))
        else:
            answer('text', lambda: ANNOTATIONS[form][1](str(file)))

    fuzz()


def write_features(form: str, folder: Path) -> Path:
    rows = np.arange(24, dtype=np.float32).reshape(6, 4)
    file = folder / f'a.{form}'
    if form == 'npy':
        np.save(file, rows)
    elif form == 'npz':
        np.savez(file, features=rows)
    elif form == 'pt':
        torch.save({'features': torch.from_numpy(rows)}, file)
    elif form == 'safetensors':
        save_file({'features': rows}, file)
    elif form == 'mdb':
        lmdb = pytest.importorskip('lmdb')
        file = folder / 'data.mdb'
        with lmdb.open(str(folder)) as environment, environment.begin(write=True) as values:
            values.put(b'a', rows.tobytes())
    elif form == 'h5':
        with h5py.File(file, 'w') as out:
            out['a/features'] = rows
    else:
        with PackedWriter(str(folder), dim=4) as writer:
            writer.add('a', rows)
        file = folder / form
    return file


@pytest.mark.parametrize(
    'form', ['npy', 'npz', 'pt', 'safetensors', 'h5', 'mdb', 'manifest.json', 'data.bin']
)
def test_bytes_of_feature_files(form: str, tmp_path: Path) -> None:
    file = write_features(form, tmp_path)
    content = file.read_bytes()

    def load() -> None:
        if form == 'h5':
            store: Any = HDF5Store(str(file))
        elif form == 'mdb':
            store = LMDBStore(str(file), dim=4, dtype='float32')
        else:
            store = (PackedStore if '.' in form else FolderStore)(str(tmp_path))
        store.shape('a')
        store.load('a')

    @FUZZ
    @given(damages())
    def fuzz(changes: list) -> None:
        file.write_bytes(damaged(content, changes))
        answer('features', load)

    fuzz()


def test_bytes_of_videos(tmp_path: Path) -> None:
    av = pytest.importorskip('av')
    file = tmp_path / 'a.mp4'
    with av.open(str(file), 'w') as container:
        stream = container.add_stream('libx264', rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, 'yuv420p'
        stream.codec_context.thread_count = 1  # the same bytes on every machine
        for index in range(10):
            picture = np.full((32, 32, 3), 20 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())
    content = file.read_bytes()

    @FUZZ
    @given(damages())
    def fuzz(changes: list) -> None:
        file.write_bytes(damaged(content, changes))
        ask = dict(num_clips=2, frames_per_clip=1, size=16)
        answer('videos', lambda: decode_clips(str(file), **ask))

    fuzz()


def test_bytes_of_checkpoints(tmp_path: Path) -> None:
    file = tmp_path / 'a.pth'
    torch.save({'state_dict': {'w': torch.zeros(3)}, 'meta': {'epoch': 1}}, file)
    content = file.read_bytes()

    @FUZZ
    @given(damages())
    def fuzz(changes: list) -> None:
        file.write_bytes(damaged(content, changes))
        answer('checkpoints', lambda: read_checkpoint(file))

    fuzz()


def test_bytes_of_an_index(tmp_path: Path) -> None:
    whole, torn = tmp_path / 'whole', tmp_path / 'torn'
    FaissIndex(whole, kind='flat', segment_videos=10).build(make_entries(15))
    files = sorted(p.relative_to(whole) for p in whole.rglob('*') if p.is_file())

    answer('index', lambda: MomentIndex.open(whole).search(make_queries(1)))

    @FUZZ
    @given(st.sampled_from(files), damages())
    def fuzz(name: Path, changes: list) -> None:
        shutil.rmtree(torn, ignore_errors=True)
        shutil.copytree(whole, torn)
        (torn / name).write_bytes(damaged((whole / name).read_bytes(), changes))
        answer('index', lambda: MomentIndex.open(torn).search(make_queries(1)))

    fuzz()


CONFIG = Config.fromfile(ROOT / 'configs' / 'demul_demo.py')
KEYS = [
    'num_clips', 'data_root', 'train_dataloader.batch_size', 'train_dataloader', 'model.streams',
    'train_dataloader.dataset.pipeline.1.num_clips', 'optim_wrapper.clip_grad.max_norm', 'features',
    'train_cfg.max_epochs', 'env_cfg.dist_cfg.backend', 'custom_hooks.0.type', 'default_hooks',
]  # fmt: skip


@FUZZ
@given(st.sampled_from(KEYS), st.lists(st.text(max_size=5), max_size=2), values)
def test_options(key: str, further: list[str], value: Any) -> None:
    config = copy.deepcopy(CONFIG)
    answer('options', lambda: apply_options(config, {'.'.join([key, *further]): value}))


arrays = st.sampled_from(
    [
        np.zeros((0, 4)), np.zeros((3, 4)), np.full((3, 4), np.nan), np.zeros((1, 3, 4)),
        np.zeros(4), np.array('x'), np.array([None]),
        np.full((2, 4), 1e30), np.zeros((3, 4), complex),
        torch.zeros(3, 4, requires_grad=True), torch.zeros(3, 4, dtype=torch.bfloat16),
        torch.zeros(2, 4, dtype=torch.int8), torch.zeros(()), torch.zeros(3, 4).to_sparse(),
        torch.zeros(3, 4, device='meta'), b'bytes', Path('x'), object(), float('inf'), {1, 2},
    ]
)  # fmt: skip


@FUZZ
@given(
    st.sampled_from(['videos', 'queries', 'durations', 'features']),
    values | arrays | st.lists(arrays, max_size=3),
    st.integers(1, 3),
)
def test_arguments(name: str, value: Any, number: int) -> None:
    doors: dict[str, Callable[[], object]] = {
        'videos': lambda: as_videos(value),
        'queries': lambda: as_queries(value, number),
        'durations': lambda: as_durations(value, number),
        'features': lambda: as_features(value, 4),
    }
    answer('arguments', doors[name])


def test_number_of_inputs() -> None:
    """Last: how many there were, and that both answers were given to each kind."""
    if not COUNT:
        pytest.skip('needs the tests above in the same process')
    assert sum(map(len, COUNT.values())) >= 1000
    for kind, told in COUNT.items():
        assert any(told), kind
        assert '' in told, kind
