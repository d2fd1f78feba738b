"""The data tools, run as a user runs them, on tiny data."""

import numpy as np
import pytest

from demul_mm.datasets import JsonlMomentDataset, PackedStore, PackedWriter
from tests.datasets.helpers import video, write_jsonl
from tests.datasets.test_stores import write_lmdb
from tests.tools.running import call


def run(tool: str, *args: object) -> tuple[int, str]:
    """Run a tool: its exit code and all that it printed."""
    done = call(f'tools/{tool}', *args)
    return done.code, done.out + done.err


def write_folder(path, shapes, **bad):
    path.mkdir()
    rng = np.random.default_rng(0)
    for name, rows in shapes.items():
        np.save(path / f'{name}.npy', rng.normal(size=(rows, 4)).astype(np.float32))
    for name, array in bad.items():
        np.save(path / f'{name}.npy', array)


def write_config(tmp_path, rows, store, steps=('LoadVideoFeature', 'PackMomentInputs')):
    write_jsonl(tmp_path / 'a.jsonl', rows)
    dataset = dict(
        type='JsonlMomentDataset',
        data_root=str(tmp_path),
        ann_file='a.jsonl',
        split='train',
        features=dict(visual=store),
        pipeline=[dict(type=step) for step in steps],
    )
    config = tmp_path / 'config.py'
    config.write_text(
        ''.join(
            f'{part}_dataloader = dict(dataset={dataset!r})\n' for part in ('train', 'val', 'test')
        )
    )
    return config


class TestPack:
    def test_packs_joins_and_renames(self, tmp_path):
        write_folder(tmp_path / 'one', {'a': 5, 'b': 3, 'only': 2})
        write_folder(tmp_path / 'two', {'a': 4, 'b': 3})
        code, output = run(
            'data/pack_features.py', tmp_path / 'one', tmp_path / 'two', tmp_path / 'out',
            '--id', '{name}.avi', '--dtype', 'float32', '--clip-seconds', 2,
        )  # fmt: skip
        assert code == 0
        assert '2 videos, 8 values' in output
        store = PackedStore(str(tmp_path / 'out'))
        assert list(store.ids()) == ['a.avi', 'b.avi']
        assert store.shape('a.avi') == (4, 8)  # cut to the shorter
        assert store.clip_seconds == 2
        assert store.simulated is False
        one = np.load(tmp_path / 'one' / 'a.npy')
        np.testing.assert_array_equal(store.load('a.avi')[:, :4], one[:4])

    def test_an_lmdb_environment(self, tmp_path):
        write_lmdb(tmp_path / 'one', {'a': np.ones((5, 4), np.float32)})
        code, _ = run('data/pack_features.py', tmp_path / 'one', tmp_path / 'out')
        assert code == 0
        np.testing.assert_array_equal(PackedStore(str(tmp_path / 'out')).load('a'), np.ones((5, 4)))

    def test_bad_videos_are_listed_and_the_rest_is_packed(self, tmp_path):
        nan = np.full((2, 4), np.nan, np.float32)
        write_folder(tmp_path / 'one', {'a': 5}, bad=nan, wide=np.zeros((2, 5), np.float32))
        code, output = run('data/pack_features.py', tmp_path / 'one', tmp_path / 'out')
        assert code == 1
        assert '2 videos left out' in output
        assert "video 'bad'" in output
        assert "video 'wide'" in output
        assert list(PackedStore(str(tmp_path / 'out')).ids()) == ['a']
        # Run again when they are mended: the rest is added.
        np.save(tmp_path / 'one' / 'bad.npy', np.zeros((2, 4), np.float32))
        (tmp_path / 'one' / 'wide.npy').unlink()
        code, _ = run('data/pack_features.py', tmp_path / 'one', tmp_path / 'out')
        assert code == 0
        assert sorted(PackedStore(str(tmp_path / 'out')).ids()) == ['a', 'bad']

    def test_arrays_of_another_key_or_name_are_not_mixed_in(self, tmp_path):
        """They would be left out without a word, as videos that are there."""
        (tmp_path / 'one').mkdir()
        arrays = dict(first=np.zeros((3, 4)), second=np.ones((3, 4)))
        np.savez(tmp_path / 'one' / 'a.npz', **arrays)
        command = ('data/pack_features.py', tmp_path / 'one', tmp_path / 'out', '--key')
        assert run(*command, 'first')[0] == 0
        assert run(*command, 'first')[0] == 0
        for options in (('second',), ('first', '--id', 'v_{name}')):
            code, output = run(*command, *options)
            assert code == 2
            assert 'was begun with provenance=' in output
        assert list(PackedStore(str(tmp_path / 'out')).ids()) == ['a']
        assert PackedStore(str(tmp_path / 'out')).load('a').max() == 0

    @pytest.mark.parametrize(
        ('option', 'value', 'message'),
        [
            ('--id', 'fixed', "--id 'fixed': make it of {name} alone"),
            ('--id', '{video_id}.avi', "--id '{video_id}.avi': make it of {name} alone"),
            ('--id', '{name:.1}', "'{name:.1}' makes one video of 'aa' and 'ab'"),
            ('--clip-seconds', 0, '--clip-seconds 0: give seconds above 0'),
            ('--clip-seconds', -2, '--clip-seconds -2: give seconds above 0'),
            ('--clip-seconds', 'nan', '--clip-seconds nan: give seconds above 0'),
        ],
    )
    def test_what_would_lose_videos_is_refused(self, tmp_path, option, value, message):
        write_folder(tmp_path / 'one', {'aa': 5, 'ab': 3})
        code, output = run(
            'data/pack_features.py', tmp_path / 'one', tmp_path / 'out', option, value
        )
        assert code == 2
        assert message in output
        assert not (tmp_path / 'out').exists()


class TestVerify:
    def test_a_sound_data_set_passes(self, tmp_path):
        write_folder(tmp_path / 'f', {'a': 5, 'b': 3})
        config = write_config(
            tmp_path, [video('a'), video('b')], dict(type='FolderStore', path='f', dim=4)
        )
        code, output = run('misc/verify_dataset.py', config, '--part', 'train', '--workers', 0)
        assert code == 0
        assert 'train annotations: 2 videos, 4 queries, 0 bad' in output
        assert 'train visual features: 2 videos, 0 bad' in output

    @pytest.mark.parametrize('workers', [0, 2])
    def test_every_fault_is_found_at_once(self, tmp_path, workers):
        rows = np.zeros((3, 4), np.float32)
        nan = rows.copy()
        nan[1, 2] = np.nan
        write_folder(
            tmp_path / 'f',
            {'good': 5},
            nan=nan,
            wide=np.zeros((3, 5), np.float32),
            empty=np.zeros((0, 4), np.float32),
            cube=np.zeros((3, 2, 4), np.float32),
            torn=rows,
        )
        content = (tmp_path / 'f' / 'torn.npy').read_bytes()
        (tmp_path / 'f' / 'torn.npy').write_bytes(content[:-4])
        names = ['good', 'nan', 'wide', 'empty', 'cube', 'torn', 'gone']
        store = dict(type='FolderStore', path='f', dim=4, clip_seconds=4.0)
        config = write_config(tmp_path, [video(name, 20.0) for name in names], store)
        code, output = run('misc/verify_dataset.py', config, '--part', 'val', '--workers', workers)
        assert code == 1
        assert 'val visual features: 7 videos, 6 bad' in output
        for kind, name in {
            'missing': 'gone',
            'NaN or infinity': 'nan: 1 of 3 rows',
            'wrong dimension': 'wide: 5, expected 4',
            'empty': 'empty: shape (0, 4)',
            'shape': 'cube: (3, 2, 4)',
            'unreadable': 'torn',
        }.items():
            assert any(kind in line and name in line for line in output.splitlines()), kind

    def test_a_video_may_lack_an_optional_stream(self, tmp_path):
        write_folder(tmp_path / 'f', {'a': 5, 'b': 3})
        write_folder(tmp_path / 's', {'b': 3})
        config = write_config(
            tmp_path, [video('a'), video('b')], dict(type='FolderStore', path='f', dim=4)
        )
        text = config.read_text()
        second = "{'type': 'LoadVideoFeature', 'stream': 'said', 'optional': True}, "
        text = text.replace("{'type': 'PackMomentInputs'", second + "{'type': 'PackMomentInputs'")
        said = "'said': {'type': 'FolderStore', 'path': 's', 'dim': 4}, 'visual'"
        config.write_text(text.replace("'visual'", said))
        code, output = run('misc/verify_dataset.py', config, '--part', 'train', '--workers', 0)
        assert code == 0
        assert 'optional, 1 videos have none' in output
        assert 'train said features: 1 videos, 0 bad' in output

    def test_parts_are_known_by_their_whole_names(self, tmp_path):
        """As a config of another package's scope has to write them."""
        write_folder(tmp_path / 'f', {'a': 5})
        steps = [f'demul_mm.{step}' for step in ('LoadVideoFeature', 'LoadVideoClips')]
        store = dict(type='demul_mm.FolderStore', path='f', dim=4)
        config = write_config(tmp_path, [video('a'), video('b')], store, steps)
        code, output = run('misc/verify_dataset.py', config, '--part', 'train', '--workers', 0)
        assert code == 1
        assert 'train visual features: 2 videos, 1 bad' in output
        assert 'train video files: 2 videos, 2 bad' in output
        config.write_text(config.read_text().replace("'JsonlM", "'demul_mm.JsonlM"))
        write_jsonl(tmp_path / 'a.jsonl', [video('a', duration=0), video('b', duration=0)])
        _, output = run('misc/verify_dataset.py', config, '--part', 'train', '--workers', 0)
        assert 'train annotations: 2 bad' in output

    def test_each_of_several_data_sets_in_one(self, tmp_path):
        write_folder(tmp_path / 'f', {'a': 5})
        config = write_config(tmp_path, [video('a')], dict(type='FolderStore', path='f', dim=4))
        write_jsonl(tmp_path / 'b.jsonl', [video('b')])
        more = """
one = val_dataloader['dataset']
several = dict(type='ConcatDataset', datasets=[one, dict(one, name='other', ann_file='b.jsonl')])
train_dataloader = dict(dataset=several)
"""
        config.write_text(config.read_text() + more)
        code, output = run('misc/verify_dataset.py', config, '--workers', 0)
        assert code == 1
        for line in ('train 0 visual features: 1 videos, 0 bad', 'val visual features: 1 videos, 0',
                     'train 1 visual features: 1 videos, 1 bad'):  # fmt: skip
            assert line in output

    def test_dimension_of_the_majority_without_dim(self, tmp_path):
        write_folder(tmp_path / 'f', {'a': 5, 'b': 3}, c=np.zeros((3, 5), np.float32))
        ann = write_jsonl(tmp_path / 'a.jsonl', [video(name) for name in 'abc'])
        code, output = run(
            'misc/verify_dataset.py', '--dataset', 'JsonlMomentDataset', '--ann-file', ann,
            '--store', 'FolderStore', '--features', tmp_path / 'f', '--workers', 0,
        )  # fmt: skip
        assert code == 1
        assert 'c: 5, expected 4' in output

    def test_lengths_and_checksums(self, tmp_path):
        with PackedWriter(str(tmp_path / 'p'), dim=4, clip_seconds=1.0) as writer:
            for name, rows in {'a': 20, 'b': 10, 'c': 20}.items():
                writer.add(name, np.ones((rows, 4)))
        content = bytearray((tmp_path / 'p' / 'data.bin').read_bytes())
        content[-1] ^= 1
        (tmp_path / 'p' / 'data.bin').write_bytes(content)
        rows = [video(name, 20.0) for name in 'abc']
        config = write_config(tmp_path, rows, dict(type='PackedStore', path='p'))
        code, output = run('misc/verify_dataset.py', config, '--part', 'train', '--workers', 0)
        assert code == 1
        assert 'wrong length' in output
        assert 'b: 10 s of features, 20 s of video' in output
        assert 'c: the checksum does not fit' in output

    def test_an_option_that_the_data_set_needs(self, tmp_path):
        (tmp_path / 'a.txt').write_text('3MSZA 24.3 30.4##person turn a light on.\n')
        code, output = run(
            'misc/verify_dataset.py', '--dataset', 'CharadesSTADataset',
            '--ann-file', tmp_path / 'a.txt',
        )  # fmt: skip
        assert code == 1
        assert 'train annotations: 1 bad' in output
        assert 'CharadesSTADataset needs info_file' in output
        assert 'Traceback' not in output

    def test_all_faults_of_annotations(self, tmp_path):
        rows = [video('a', duration=0), video('b'), video('c', 3.0)]
        config = write_config(tmp_path, rows, dict(type='FolderStore', path='f'))
        code, output = run('misc/verify_dataset.py', config, '--part', 'train')
        assert code == 1
        assert 'train annotations: 2 bad' in output
        assert 'line 1' in output
        assert 'line 3' in output


@pytest.mark.slow
def test_simulated_features_are_resumed_marked_and_trainable(tmp_path):
    rows = [video(f'v{i}', 20.0 + i) for i in range(12)]
    config = write_config(tmp_path, rows, dict(type='PackedStore', path='features', dim=32))
    tool, options = 'data/simulate_features.py', ('--dim', 32)
    assert run(tool, config, '--max-videos', 5, *options)[0] == 0
    path = tmp_path / 'features' / 'simulated' / 'train'
    few = PackedStore(str(path))
    assert len(few) == 5
    some = {name: few.load(name) for name in few.ids()}
    assert run(tool, config, *options)[0] == 0
    store = PackedStore(str(path), dim=32)
    assert len(store) == 12
    assert store.simulated is True
    assert store.provenance['seed'] == 0
    assert store.provenance['annotations'] == 'a.jsonl'
    for name, features in some.items():
        np.testing.assert_array_equal(store.load(name), features)
    dataset = JsonlMomentDataset(
        str(tmp_path / 'a.jsonl'),
        split='train',
        features=dict(visual=dict(type='PackedStore', path=str(path))),
        pipeline=[dict(type='LoadVideoFeature'), dict(type='PackMomentInputs')],
    )
    assert dataset[3]['inputs']['visual'].shape == (23, 32)
    assert dataset[3]['data_samples'].simulated is True


def test_each_of_several_data_sets_is_simulated(tmp_path):
    config = write_config(tmp_path, [video('a')], dict(type='PackedStore', path='f', dim=4))
    write_jsonl(tmp_path / 'b.jsonl', [video('b')])
    more = """
one = val_dataloader['dataset']
other = dict(one, name='other', ann_file='b.jsonl', split='val')
train_dataloader = dict(dataset=dict(type='ConcatDataset', datasets=[one, {}]))
"""
    plain = config.read_text()
    tool, options = 'data/simulate_features.py', ('--part', 'train', '--dim', 8)
    config.write_text(plain + more.format('other'))
    code, output = run(tool, config, *options)
    assert code == 0, output
    folder = tmp_path / 'features' / 'simulated'
    for split, name in (('train', 'a'), ('val', 'b')):
        assert list(PackedStore(str(folder / split)).ids()) == [name]
    config.write_text(plain + more.format("dict(other, split='train')"))
    code, output = run(tool, config, *options)
    assert code == 2
    assert 'features of a.jsonl and b.jsonl would both go to' in output


@pytest.mark.slow
def test_browse_draws_items(tmp_path):
    write_folder(tmp_path / 'f', {'a': 5, 'b': 3})
    config = write_config(
        tmp_path, [video('a'), video('b')], dict(type='FolderStore', path='f', dim=4)
    )
    tool = 'visualization/browse_dataset.py'
    code, _ = run(tool, config, '--out-dir', tmp_path / 'out', '--video', 'b', '--repeat', 2)
    assert code == 0
    picture = (tmp_path / 'out' / 'train_b.png').read_bytes()
    assert picture.startswith(b'\x89PNG')
    assert len(picture) > 10_000
    code, output = run(tool, config, '--out-dir', tmp_path / 'out', '--video', 'c')
    assert code == 2
    assert "error: no video 'c' in the train data set; it has such as a, b" in output


@pytest.mark.parametrize(
    ('tool', 'args', 'message'),
    [
        ('data/simulate_features.py', (), 'give either a config or --dataset'),
        ('data/simulate_features.py', ('--dataset', 'X'), '--dataset needs --ann-file'),
        ('misc/verify_dataset.py', ('c.py', '--store', 'X'), 'give both --store and --features'),
    ],
)
def test_wrong_arguments(tool, args, message):
    code, output = run(tool, *args)
    assert code == 2
    assert message in output
