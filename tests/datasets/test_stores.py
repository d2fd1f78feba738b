"""Feature stores: the same numbers from each form, faults named, little memory."""

import io
import json
import multiprocessing
import os
import pickle
import signal
import sys

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from demul_mm.datasets import FolderStore, HDF5Store, LMDBStore, PackedStore, PackedWriter
from demul_mm.registry import FEATURE_STORES

DIM = 6
FORK = multiprocessing.get_context('fork')


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    # Halves, so that fp16 holds them exactly.
    return {
        name: rng.integers(-8, 8, (rows, DIM)).astype(np.float32) / 2
        for name, rows in (('b', 3), ('a', 7), ('v.avi', 1))
    }


def place(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    return folder / name


def write_npy(path, arrays):
    path.mkdir()
    for name, array in arrays.items():
        np.save(place(path, f'{name}.npy'), array)


def write_npz(path, arrays):
    path.mkdir()
    for name, array in arrays.items():
        np.savez(place(path, f'{name}.npz'), features=array)


def write_safetensors(path, arrays):
    path.mkdir()
    for name, array in arrays.items():
        save_file({'features': array}, place(path, f'{name}.safetensors'))


def write_pt(path, arrays):
    path.mkdir()
    for number, (name, array) in enumerate(arrays.items()):
        tensor = torch.nn.Parameter(torch.from_numpy(array.copy()))
        torch.save({'feats': tensor, 'fps': 2} if number else tensor, place(path, f'{name}.pt'))


def write_hdf5(path, arrays):
    with h5py.File(path, 'w') as file:
        for name, array in arrays.items():
            file[f'{name}/c3d_features'] = array


def write_lmdb(path, arrays, encode=None):
    lmdb = pytest.importorskip('lmdb')
    with (
        lmdb.open(str(path), map_size=1 << 24) as environment,
        environment.begin(write=True) as values,
    ):
        values.put(b'__keys__', json.dumps(list(arrays)).encode())
        for name, array in arrays.items():
            values.put(name.encode(), (encode or as_npz)(array))


def as_npz(array):
    with io.BytesIO() as file:
        np.savez_compressed(file, features=array, fps=2)
        return file.getvalue()


def write_packed(path, arrays, dtype='float16'):
    with PackedWriter(str(path), dim=DIM, dtype=dtype) as writer:
        for name, array in arrays.items():
            writer.add(name, array)


FORMS = {
    'npy': (write_npy, dict(type='FolderStore')),
    'npz': (write_npz, dict(type='FolderStore')),
    'pt': (write_pt, dict(type='FolderStore')),
    'safetensors': (write_safetensors, dict(type='FolderStore', key='features')),
    'hdf5': (write_hdf5, dict(type='HDF5Store', key='{video_id}/c3d_features')),
    'lmdb': (write_lmdb, dict(type='LMDBStore')),
    'packed': (write_packed, dict(type='PackedStore')),
}


@pytest.mark.parametrize('form', FORMS)
def test_every_form_gives_the_same_arrays(form, arrays, tmp_path):
    write, config = FORMS[form]
    write(tmp_path / 'features', arrays)
    store = FEATURE_STORES.build(dict(config, path=str(tmp_path / 'features')))
    assert sorted(store.ids()) == sorted(arrays)
    assert len(store) == 3
    assert store.dim == DIM
    assert store.clip_seconds is None
    assert store.simulated is False
    assert 'c' not in store
    for copy in (store, pickle.loads(pickle.dumps(store))):
        for name, array in arrays.items():
            assert name in copy
            assert copy.shape(name) == array.shape
            loaded = copy.load(name)
            assert loaded.dtype == np.float32
            np.testing.assert_array_equal(loaded, array)
            loaded += 1  # a copy of the caller's own
    np.testing.assert_array_equal(store.load('a'), arrays['a'])
    with pytest.raises(KeyError, match=r"video 'c' in .* \(3 videos, such as"):
        store.load('c')


@pytest.mark.parametrize('form', FORMS)
def test_fingerprint_follows_the_content(form, arrays, tmp_path):
    write, config = FORMS[form]

    def fingerprint(name, content):
        write(tmp_path / name, content)
        return FEATURE_STORES.build(dict(config, path=str(tmp_path / name))).fingerprint()

    def state(name):
        return FEATURE_STORES.build(dict(config, path=str(tmp_path / name))).state('a')

    first = fingerprint('one', arrays)
    old = state('one')
    assert state('one') == old
    assert fingerprint('two', arrays) == first
    assert fingerprint('three', {**arrays, 'a': arrays['a'] + 1}) != first
    assert state('three') != old
    assert fingerprint('four', {**arrays, 'c': arrays['a']}) != first


@pytest.mark.parametrize('form', ['npy', 'npz', 'pt', 'safetensors', 'hdf5', 'lmdb'])
@pytest.mark.parametrize(
    ('bad', 'message'),
    [
        (np.zeros((0, DIM), np.float32), 'empty'),
        (np.full((2, DIM), np.nan, np.float32), '2 of 2 rows hold NaN'),
        (np.zeros((4, DIM + 1), np.float32), f'{DIM + 1} values, the config says dim={DIM}'),
        (np.zeros((4, 2, DIM), np.float32), 'shape'),
        (np.zeros(DIM, np.float32), 'shape'),
    ],
)
def test_bad_features_name_the_video(form, bad, message, arrays, tmp_path):
    write, config = FORMS[form]
    write(tmp_path / 'f', {**arrays, 'bad': bad})
    store = FEATURE_STORES.build(dict(config, path=str(tmp_path / 'f'), dim=DIM))
    assert store.load('a').shape == (7, DIM)
    with pytest.raises(ValueError, match="video 'bad'") as error:
        store.load('bad')
    assert message in str(error.value)


def test_axes_of_length_one_are_taken_away(tmp_path):
    array = np.arange(12, dtype=np.float32).reshape(1, 4, 1, 3)
    write_npy(tmp_path / 'f', {'a': array})
    store = FolderStore(str(tmp_path / 'f'))
    assert store.shape('a') == (4, 3)
    np.testing.assert_array_equal(store.load('a'), array.reshape(4, 3))


def test_layers_and_tokens(tmp_path):
    """``(T, k, P, C)`` of a vision transformer: a layer, and the first or the mean token."""
    array = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    write_npy(tmp_path / 'f', {'a': array})
    first = FolderStore(str(tmp_path / 'f'), take=(-1, 0))
    assert first.shape('a') == (2, 5)
    np.testing.assert_array_equal(first.load('a'), array[:, -1, 0])
    mean = FolderStore(str(tmp_path / 'f'), take=(1, None))
    np.testing.assert_array_equal(mean.load('a'), array[:, 1].mean(1))
    with pytest.raises(ValueError, match=r'shape \(2, 3, 4, 5\) has no 1 axes'):
        FolderStore(str(tmp_path / 'f'), take=(0,)).load('a')


def test_several_arrays_of_which_one_is_the_features(arrays, tmp_path):
    (tmp_path / 'f').mkdir()
    np.savez(tmp_path / 'f' / 'a.npz', features=arrays['a'], fps=2.0)
    store = FolderStore(str(tmp_path / 'f'))
    np.testing.assert_array_equal(store.load('a'), arrays['a'])
    assert store.shape('a') == arrays['a'].shape


def test_files_that_are_not_what_their_name_says(arrays, tmp_path):
    (tmp_path / 'f').mkdir()
    with open(tmp_path / 'f' / 'archive.npy', 'wb') as file:
        np.savez(file, arrays['a'])
    torch.save({'a': {1, 2}, 'model': torch.nn.Linear(1, 1)}, tmp_path / 'f' / 'model.pt')
    (tmp_path / 'f' / 'lfs.npy').write_text('version https://git-lfs.github.com/spec/v1\n')
    (tmp_path / 'f' / 'page.pt').write_text('<html>404</html>')
    write_hdf5(tmp_path / 'f' / 'h5.npz', arrays)
    store = FolderStore(str(tmp_path / 'f'))
    np.testing.assert_array_equal(store.load('archive'), arrays['a'])
    reasons = {'model': 'pickled', 'lfs': 'Git LFS', 'page': '', 'h5': 'HDF5Store'}
    for name, why in reasons.items():
        with pytest.raises(ValueError, match=f'cannot be read.*{why}'):
            store.load(name)
        with pytest.raises(ValueError, match='cannot be read'):
            store.shape(name)


def test_a_folder_without_features_says_what_it_holds(tmp_path):
    (tmp_path / 'a.mat').touch()
    with pytest.raises(KeyError, match=r'no .npy, .*there are a.mat'):
        FolderStore(str(tmp_path)).load('a')


def test_names_may_differ_from_video_ids(arrays, tmp_path):
    write_npy(tmp_path / 'f', {'v': arrays['a'], 'x_w': arrays['b']})
    assert 'v.avi' in FolderStore(str(tmp_path / 'f'), name='{stem}')
    assert FolderStore(str(tmp_path / 'f'), name='x_{video_id}').shape('w') == (3, DIM)
    write_hdf5(tmp_path / 'f.h5', {'v': arrays['a']})
    store = HDF5Store(str(tmp_path / 'f.h5'), key='{stem}/c3d_features')
    np.testing.assert_array_equal(store.load('v.avi'), arrays['a'])


@pytest.mark.parametrize('form', [*FORMS, 'flat', 'features'])
def test_ids_with_slashes(form, tmp_path):
    """``000`` of two folders are two videos."""
    arrays = {name: np.full((2, DIM), i, np.float32) for i, name in enumerate(('x/000', 'y/000'))}
    if form in ('flat', 'features'):
        config = dict(type='HDF5Store')
        with h5py.File(tmp_path / 'f', 'w') as file:
            for name, array in arrays.items():
                file[name if form == 'flat' else f'{name}/features'] = array
    else:
        write, config = FORMS[form]
        write(tmp_path / 'f', arrays)
    store = FEATURE_STORES.build(dict(config, path=str(tmp_path / 'f')))
    assert list(store.ids()) == ['x/000', 'y/000']
    assert '000' not in store
    for name, array in arrays.items():
        assert name in store
        np.testing.assert_array_equal(store.load(name), array)


def test_wrong_keys_say_what_is_there(arrays, tmp_path):
    (tmp_path / 'f').mkdir()
    np.savez(tmp_path / 'f' / 'a.npz', clip=arrays['a'], slow=arrays['a'])
    with pytest.raises(ValueError, match=r"\['clip', 'slow'\]; set key="):
        FolderStore(str(tmp_path / 'f')).load('a')
    write_hdf5(tmp_path / 'f.h5', arrays)
    with pytest.raises(ValueError, match=r"\['c3d_features'\]\); set key="):
        HDF5Store(str(tmp_path / 'f.h5')).load('a')


def test_two_files_of_a_video_are_refused(arrays, tmp_path):
    write_npy(tmp_path / 'f', arrays)
    np.savez(tmp_path / 'f' / 'a.npz', features=arrays['a'])
    with pytest.raises(ValueError, match=r"a.npy and a.npz would both be called 'a'"):
        list(FolderStore(str(tmp_path / 'f')).ids())


def test_hidden_and_unfinished_files_are_no_videos(arrays, tmp_path):
    write_npy(tmp_path / 'f', {**arrays, '.b.tmp': arrays['b'], 'c.tmp': arrays['b']})
    np.save(tmp_path / 'f' / '.hidden.npy', arrays['a'])
    (tmp_path / 'f' / 'a.npy').rename(tmp_path / 'f' / 'a.NPY')
    store = FolderStore(str(tmp_path / 'f'))
    assert sorted(store.ids()) == sorted(arrays)
    np.testing.assert_array_equal(store.load('a'), arrays['a'])
    assert store.shape('a') == arrays['a'].shape


def test_truncated_and_foreign_files(arrays, tmp_path):
    write_npy(tmp_path / 'f', arrays)
    content = (tmp_path / 'f' / 'a.npy').read_bytes()
    (tmp_path / 'f' / 'a.npy').write_bytes(content[:-10])
    np.save(tmp_path / 'f' / 'b.npy', np.array([{}], dtype=object), allow_pickle=True)
    store = FolderStore(str(tmp_path / 'f'))
    for name in 'ab':  # cut short; pickled objects are refused
        with pytest.raises(ValueError, match=f"video '{name}' cannot be read"):
            store.load(name)
    (tmp_path / 'f.h5').write_text('no')
    with pytest.raises(ValueError, match='not an HDF5 file'):
        HDF5Store(str(tmp_path / 'f.h5'))
    for cls in (FolderStore, HDF5Store, LMDBStore, PackedStore):
        with pytest.raises(FileNotFoundError):
            cls(str(tmp_path / 'nowhere'))


class TestLMDB:
    def test_bare_numbers(self, arrays, tmp_path):
        write_lmdb(tmp_path / 'f', arrays, lambda array: array.astype('<f2').tobytes())
        options = dict(path=str(tmp_path / 'f'), dim=DIM)
        store = LMDBStore(dtype='<f2', **options)
        assert store.shape('a') == (7, DIM)
        np.testing.assert_array_equal(store.load('a'), arrays['a'])
        with pytest.raises(ValueError, match=r"video 'a' .*no .npy or .npz file; of bare numbers"):
            LMDBStore(**options).load('a')
        with pytest.raises(ValueError, match="video 'b' cannot be read"):
            LMDBStore(dtype='f8', **{**options, 'dim': 5}).load('b')
        for wrong in (dict(dim=None), dict(dtype='O')):
            with pytest.raises(ValueError, match='give a numeric type, and how many are a row'):
                LMDBStore(**{**options, 'dtype': '<f2', **wrong})

    def test_names_may_differ_from_video_ids(self, arrays, tmp_path):
        write_lmdb(tmp_path / 'f', {'x_v': arrays['a']})
        store = LMDBStore(str(tmp_path / 'f' / 'data.mdb'), name='x_{stem}')
        np.testing.assert_array_equal(store.load('v.avi'), arrays['a'])

    def test_nothing_is_unpickled(self, tmp_path):
        pickled = np.array([{'a': 1}], dtype=object)
        for encode in (pickle.dumps, as_npz):
            write_lmdb(tmp_path / encode.__name__, {'a': pickled}, encode)
            with pytest.raises(ValueError, match="video 'a' cannot be read"):
                LMDBStore(str(tmp_path / encode.__name__)).load('a')

    def test_damage_is_found(self, arrays, tmp_path):
        write_lmdb(tmp_path / 'f', arrays)
        file = tmp_path / 'f' / 'data.mdb'
        os.truncate(file, file.stat().st_size // 2)
        with pytest.raises(
            ValueError, match=r'cannot be read: .* bytes; download or copy it again'
        ):
            LMDBStore(str(tmp_path / 'f')).load('a')
        file.write_bytes(b'no' * 5000)
        with pytest.raises(ValueError, match='cannot be read'):
            LMDBStore(str(tmp_path / 'f')).load('a')

    def test_says_how_to_get_the_library(self, arrays, tmp_path, monkeypatch):
        write_lmdb(tmp_path / 'f', arrays)
        monkeypatch.setitem(sys.modules, 'lmdb', None)
        with pytest.raises(ImportError, match=r"pip install 'demul-mm\[lmdb\]'"):
            LMDBStore(str(tmp_path / 'f'))


def _sum(args):
    store, name = args
    return float(store.load(name).sum())


@pytest.mark.parametrize('form', ['hdf5', 'lmdb', 'packed'])
def test_workers_open_the_file_for_themselves(form, arrays, tmp_path):
    write, config = FORMS[form]
    write(tmp_path / 'f', arrays)
    store = FEATURE_STORES.build(dict(config, path=str(tmp_path / 'f')))
    expected = [float(arrays[name].sum()) for name in arrays]
    assert [_sum((store, name)) for name in arrays] == expected  # opened before the fork
    with FORK.Pool(2) as pool:
        assert pool.map(_sum, [(store, name) for name in arrays]) == expected


class TestPacked:
    def test_manifest(self, arrays, tmp_path):
        with PackedWriter(
            str(tmp_path / 'p'),
            dim=DIM,
            dtype='float32',
            simulated=True,
            provenance={'made_by': 'test'},
            clip_seconds=2.0,
        ) as writer:
            for name, array in arrays.items():
                writer.add(name, array)
        assert sorted(os.listdir(tmp_path / 'p')) == ['data.bin', 'manifest.json']
        manifest = json.loads((tmp_path / 'p' / 'manifest.json').read_text())
        assert (manifest['num_videos'], manifest['num_rows']) == (3, 11)
        assert (tmp_path / 'p' / 'data.bin').stat().st_size == 11 * DIM * 4
        store = PackedStore(str(tmp_path / 'p'))
        assert store.simulated is True
        assert store.provenance == {'made_by': 'test'}
        assert store.clip_seconds == 2.0
        assert list(store.ids()) == list(arrays)

    def test_rejects_what_would_not_load(self, tmp_path):
        writer = PackedWriter(str(tmp_path / 'p'), dim=DIM)
        writer.add('a', np.zeros((2, DIM)))
        for rows, message in (
            (np.zeros((2, DIM)), 'already'),
            (np.zeros((0, DIM)), 'empty'),
            (np.zeros((2, DIM + 1)), 'values'),
            (np.full((2, DIM), 1e6), 'infinity'),  # beyond fp16
        ):
            with pytest.raises(ValueError, match=message):
                writer.add('a' if message == 'already' else 'b', rows)

    def test_wrong_dim_in_the_config(self, arrays, tmp_path):
        write_packed(tmp_path / 'p', arrays)
        with pytest.raises(ValueError, match=f'dim {DIM}, the config says dim=8'):
            PackedStore(str(tmp_path / 'p'), dim=8)

    def test_goes_on_after_a_crash(self, arrays, tmp_path):
        whole, path = tmp_path / 'whole', tmp_path / 'p'
        write_packed(whole, arrays)
        names = list(arrays)

        def write_two_and_die():
            writer = PackedWriter(str(path), dim=DIM)
            for name in names[:2]:
                writer.add(name, arrays[name])
            os.kill(os.getpid(), signal.SIGKILL)

        process = FORK.Process(target=write_two_and_die)
        process.start()
        process.join()
        assert process.exitcode == -signal.SIGKILL
        with pytest.raises(FileNotFoundError, match='not finished'):
            PackedStore(str(path))
        # Half a video and half a line of the journal, as a crash may leave them.
        with open(path / 'data.bin', 'ab') as file:
            file.write(b'x' * 7)
        with open(path / 'journal.jsonl', 'a') as file:
            file.write('["half')
        with PackedWriter(str(path), dim=DIM) as writer:
            assert [name in writer for name in names] == [True, True, False]
            writer.add(names[2], arrays[names[2]])
        for file in ('data.bin', 'manifest.json'):
            assert (path / file).read_bytes() == (whole / file).read_bytes()

    def test_readers_see_the_last_finished_state(self, arrays, tmp_path):
        path = str(tmp_path / 'p')
        write_packed(path, {'a': arrays['a']})
        writer = PackedWriter(path, dim=DIM)
        writer.add('b', arrays['b'])
        during = PackedStore(path)
        assert 'b' not in during
        np.testing.assert_array_equal(during.load('a'), arrays['a'])
        writer.close()
        np.testing.assert_array_equal(PackedStore(path).load('b'), arrays['b'])

    def test_a_second_writer_is_refused(self, tmp_path):
        first = PackedWriter(str(tmp_path / 'p'), dim=DIM)
        with pytest.raises(ValueError, match='another process is writing'):
            PackedWriter(str(tmp_path / 'p'), dim=DIM)
        first.add('a', np.ones((2, DIM)))
        first.close()
        with PackedWriter(str(tmp_path / 'p'), dim=DIM) as second:
            assert 'a' in second

    def test_extending_with_other_options_is_refused(self, arrays, tmp_path):
        write_packed(tmp_path / 'p', arrays)
        with pytest.raises(ValueError, match="dtype='float16', now dtype='float32'"):
            PackedWriter(str(tmp_path / 'p'), dim=DIM, dtype='float32')

    def test_damage_is_found(self, arrays, tmp_path):
        path = tmp_path / 'p'
        write_packed(path, arrays)
        store = PackedStore(str(path))
        assert all(store.verify(name) for name in arrays)
        content = bytearray((path / 'data.bin').read_bytes())
        content[5] ^= 1
        (path / 'data.bin').write_bytes(content)
        assert [PackedStore(str(path)).verify(name) for name in arrays] == [False, True, True]
        (path / 'data.bin').write_bytes(content[:-1])
        with pytest.raises(ValueError, match='truncated'):
            PackedStore(str(path))
        manifest = (path / 'manifest.json').read_text()
        (path / 'manifest.json').write_text(manifest[:50])
        with pytest.raises(ValueError, match='damaged'):
            PackedStore(str(path))
        (path / 'manifest.json').write_text(manifest.replace('"version": 1', '"version": 9'))
        with pytest.raises(ValueError, match='update demul_mm'):
            PackedStore(str(path))


def _resident(path: str) -> int:
    """Bytes in memory, of files only what lies below a path: libraries come in as they like."""
    total, counted = 0, False
    with open('/proc/self/smaps') as file:
        for line in file:
            first, *rest = line.split()
            if not first.endswith(':'):  # addresses, rights, offset, device, inode, name
                name = rest[4] if len(rest) > 4 else ''
                counted = name.startswith(path) or not name.startswith('/')
            elif first == 'Rss:' and counted:
                total += int(rest[0]) * 1024
    return total


def _open_and_list(config) -> tuple[int, int]:
    """Bytes and file handles that it takes to open a store, list it and load three videos."""
    memory, handles = _resident(config['path']), len(os.listdir('/proc/self/fd'))
    store = FEATURE_STORES.build(config)
    assert all(store.shape(name) == (256, 256) and name in store for name in store.ids())
    for name in list(store.ids())[:3]:
        store.load(name)
    return _resident(config['path']) - memory, len(os.listdir('/proc/self/fd')) - handles


@pytest.mark.parametrize('kind', ['FolderStore', 'PackedStore'])
def test_opening_costs_no_memory_in_proportion(kind, tmp_path):
    """100 MB of features in 400 videos: opened and listed within 8 MB and two file handles."""
    rows = np.ones((256, 256), dtype=np.float32)
    path = tmp_path / 'f'
    if kind == 'PackedStore':
        with PackedWriter(str(path), dim=256, dtype='float32') as writer:
            for number in range(400):
                writer.add(f'v{number}', rows)
    else:
        write_npy(path, {f'v{number}': rows for number in range(400)})
    with FORK.Pool(1) as pool:
        memory, handles = pool.apply(_open_and_list, [dict(type=kind, path=str(path))])
    assert memory < 8 * 2**20
    assert handles <= 2
