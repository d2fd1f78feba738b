"""Pre-training of the small backbone and extraction of features, as a user runs them."""

import contextlib
import io
import json
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from demul_mm.datasets import FolderStore, PackedStore
from demul_mm.rendered import render_corpus
from tests.tools.running import environment
from tests.warm import Program

pytest.importorskip('av')

ROOT = Path(__file__).resolve().parents[2]
CLIPS = dict(clip_seconds=0.5, window_seconds=1.0, frames_per_clip=4, size=32)


def run_tool(tool: str, *arguments: object, fails: bool = False) -> str:
    """Run a tool in this process; returns what it printed and why it stopped."""
    output, code = io.StringIO(), None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        patch.setenv('OMP_WAIT_POLICY', 'PASSIVE')
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
            try:
                runpy.run_path(str(ROOT / tool), run_name='__main__')
            except SystemExit as stop:
                code = stop.code
    assert bool(code) == fails, f'{code}: {output.getvalue()[-1000:]}'
    return f'{output.getvalue()}{code}'


@pytest.fixture(scope='module')
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp('corpus')
    return render_corpus(folder, train=5, val=2, seed=1, min_seconds=9, max_seconds=12)


@pytest.fixture(scope='module')
def checkpoint(corpus: Path) -> Path:
    """A backbone that has hardly been trained."""
    out = corpus / 'backbone.pth'
    run_tool(
        'tools/pretrain_backbone.py', corpus / 'train.jsonl', '--out', out, '--steps', 3,
        '--dim', 24, '--size', 32, '--workers', 0, '--val', corpus / 'val.jsonl',
    )  # fmt: skip
    return out


def test_checkpoint_describes_itself(checkpoint: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    assert content['meta']['backbone'] == dict(
        type='ClipCNN', num_frames=4, out_dim=24, widths=[48, 64, 96]
    )
    assert content['meta']['clips'] == CLIPS
    prototypes = content['state_dict']['prototypes']
    assert torch.allclose(prototypes.norm(dim=1), torch.ones(24), atol=1e-5)
    assert float(content['state_dict']['std'].min()) > 0
    assert not checkpoint.with_suffix('.frames').exists()


def test_splits_in_files_of_one_name_have_frames_of_their_own(corpus: Path, tmp_path: Path) -> None:
    files = [tmp_path / part / 'videos.jsonl' for part in ('train', 'val')]
    for file in files:
        file.parent.mkdir()
        shutil.copy(corpus / f'{file.parent.name}.jsonl', file)
    run_tool(
        'tools/pretrain_backbone.py', files[0], '--out', tmp_path / 'out.pth', '--steps', 1,
        '--dim', 8, '--size', 16, '--workers', 0, '--val', files[1], '--video-root', corpus,
        '--cache', tmp_path / 'cache',
    )  # fmt: skip
    indices = [json.loads(path.read_text()) for path in (tmp_path / 'cache').rglob('index.json')]
    assert sorted(len(index['places']) for index in indices) == [2, 5]


def test_extract(corpus: Path, checkpoint: Path, tmp_path: Path) -> None:
    """The packed, .npy and .safetensors forms hold the same; a second run adds what is new."""
    options = ['--checkpoint', checkpoint, '--workers', 0, '--batch', 7]
    tool, train, val = 'tools/extract_features.py', corpus / 'train.jsonl', corpus / 'val.jsonl'
    run_tool(tool, train, tmp_path / 'packed', *options)
    packed = PackedStore(str(tmp_path / 'packed'))
    assert sorted(packed.ids()) == [f'train_{i:05d}' for i in range(5)]
    output = run_tool(tool, train, val, tmp_path / 'packed', *options)
    assert '5 of 7 videos are there already' in output
    packed = PackedStore(str(tmp_path / 'packed'))
    assert len(list(packed.ids())) == 7
    for row in map(json.loads, train.read_text().splitlines()):
        rows, dim = packed.shape(row['video_id'])
        assert dim == 24
        assert abs(rows - 2 * row['duration']) <= 1
    for form in ('npy', 'safetensors'):
        run_tool(tool, corpus / 'videos', tmp_path / form, '--format', form, *options)
        folder = FolderStore(str(tmp_path / form))
        for video_id in packed.ids():
            assert np.allclose(folder.load(video_id), packed.load(video_id), atol=0.02)


def test_broken_videos_are_listed(corpus: Path, checkpoint: Path, tmp_path: Path) -> None:
    good = corpus / 'videos' / 'val_00000.mp4'
    shutil.copy(good, tmp_path / 'good.mp4')
    (tmp_path / 'cut.mp4').write_bytes(good.read_bytes()[:3000])
    (tmp_path / 'list.txt').write_text('cut.mp4\ngood.mp4\nnone.mp4\n')
    output = run_tool(
        'tools/extract_features.py', tmp_path / 'list.txt', tmp_path / 'out',
        '--checkpoint', checkpoint, '--workers', 0, fails=True,
    )  # fmt: skip
    assert '2 of 3 videos were left out' in output
    assert 'cut.mp4: cannot be opened' in output
    assert 'none.mp4: no such video' in output
    assert list(PackedStore(str(tmp_path / 'out')).ids()) == ['good']


@pytest.mark.slow
def test_two_processes_share_the_videos(corpus: Path, checkpoint: Path, tmp_path: Path) -> None:
    videos = tmp_path / 'videos'
    shutil.copytree(corpus / 'videos', videos)
    (videos / 'broken.mp4').write_bytes(b'no film')
    command = ['tools/extract_features.py', videos, tmp_path / 'out', '--checkpoint', checkpoint]
    command += ['--workers', 0, '--format', 'npy', '--launcher', 'slurm']
    job = dict(environment(), SLURM_NTASKS='2', MASTER_ADDR='127.0.0.1')
    job['MASTER_PORT'] = job['PORT']
    processes = [
        Program(
            [sys.executable, *map(str, command)],
            cwd=ROOT,
            env=dict(job, SLURM_PROCID=rank, SLURM_LOCALID=rank),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in '01'
    ]
    first, second = (process.communicate(timeout=300)[1] for process in processes)
    assert [process.returncode for process in processes] == [1, 1], first + second
    assert '1 of 8 videos were left out' in first
    assert 'were left out' not in second
    run_tool(
        'tools/extract_features.py', corpus / 'videos', tmp_path / 'alone',
        '--checkpoint', checkpoint, '--workers', 0, '--format', 'npy',
    )  # fmt: skip
    stores = [FolderStore(str(tmp_path / name)) for name in ('out', 'alone')]
    assert list(stores[0].ids()) == list(stores[1].ids())
    for video_id in stores[0].ids():
        assert np.array_equal(stores[0].load(video_id), stores[1].load(video_id))


@pytest.mark.parametrize('form', ['packed', 'npy'])
def test_files_of_one_name_in_two_folders(
    corpus: Path, checkpoint: Path, tmp_path: Path, form: str
) -> None:
    """Each has an id of its own, or nothing is done."""
    options = ['--format', form, '--checkpoint', checkpoint, '--workers', 0]
    folders = [tmp_path / 'v' / kind for kind in ('cat', 'dog')]
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        shutil.copy(corpus / 'videos' / f'val_{number:05d}.mp4', folder / '000.mp4')
    run_tool('tools/extract_features.py', tmp_path / 'v', tmp_path / 'out', *options)
    store = (PackedStore if form == 'packed' else FolderStore)(str(tmp_path / 'out'))
    assert sorted(store.ids()) == ['cat/000', 'dog/000']
    assert not np.array_equal(store.load('cat/000'), store.load('dog/000'))
    output = run_tool('tools/extract_features.py', *folders, tmp_path / 'no', *options, fails=True)
    assert "would both be called '000'" in output
    shutil.copy(folders[0] / '000.mp4', folders[0] / '000.mkv')
    output = run_tool(
        'tools/extract_features.py', folders[0], tmp_path / 'no', *options, fails=True
    )
    assert "000.mkv and 000.mp4 would both be called '000'" in output
    assert not (tmp_path / 'no').exists()


def test_one_video_file(corpus: Path, checkpoint: Path, tmp_path: Path) -> None:
    run_tool(
        'tools/extract_features.py', corpus / 'videos' / 'val_00001.mp4', tmp_path / 'out',
        '--checkpoint', checkpoint, '--workers', 0,
    )  # fmt: skip
    assert list(PackedStore(str(tmp_path / 'out')).ids()) == ['val_00001']


def test_a_video_of_any_suffix(corpus: Path, checkpoint: Path, tmp_path: Path) -> None:
    """What it is, its content says; of another kind, it is left out by name."""
    options = ['--checkpoint', checkpoint, '--workers', 0]
    shutil.copy(corpus / 'videos' / 'val_00001.mp4', tmp_path / 'a.ogv')
    run_tool('tools/extract_features.py', tmp_path / 'a.ogv', tmp_path / 'out', *options)
    assert list(PackedStore(str(tmp_path / 'out')).ids()) == ['a']
    np.save(tmp_path / 'b.npy', np.zeros((2, 2)))
    output = run_tool(
        'tools/extract_features.py', tmp_path / 'b.npy', tmp_path / 'o', *options, fails=True
    )
    assert 'b.npy: cannot be opened as a video' in output


@pytest.mark.parametrize('inner', ['', 'cat/v.1'])
def test_folders_of_frames(corpus: Path, checkpoint: Path, tmp_path: Path, inner: str) -> None:
    content = torch.load(checkpoint, weights_only=True)
    frames = tmp_path / 'v' / inner
    frames.mkdir(parents=True)
    picture = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    for number in range(20):
        cv2.imwrite(str(frames / f'img_{number:05d}.jpg'), picture)
    run = ['tools/extract_features.py', tmp_path / 'v', tmp_path / 'out', '--workers', 0]
    assert 'give frame_rate' in run_tool(*run, '--checkpoint', checkpoint, fails=True)
    content['meta']['clips']['frame_rate'] = 10
    torch.save(content, tmp_path / 'rate.pth')
    run[2] = tmp_path / 'rated'
    run_tool(*run, '--checkpoint', tmp_path / 'rate.pth')
    store = PackedStore(str(tmp_path / 'rated'))
    assert list(store.ids()) == [inner or 'v']
    assert store.shape(inner or 'v')[0] == 4


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['{corpus}/none.jsonl', '{tmp}/o', '--checkpoint', '{checkpoint}'], 'no such file'),
        (['{tmp}', '{tmp}/o', '--checkpoint', '{checkpoint}'], 'no videos'),
        (['{corpus}/videos', '{tmp}/o'], 'give --checkpoint'),
        (['{corpus}/videos', '{tmp}/o', '--launcher', 'slurm'], 'give --format npy'),
        (['{corpus}/videos', '{tmp}/o', '--ray', 'auto', '--launcher', 'mpi'], 'give one of them'),
        (['{corpus}/videos', '{tmp}/o', '--ray', 'auto', '--device', 'cpu'], 'no --device'),
    ],
)
def test_wrong_input(
    corpus: Path, checkpoint: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    filled = [a.format(corpus=corpus, tmp=tmp_path, checkpoint=checkpoint) for a in arguments]
    assert message in run_tool('tools/extract_features.py', *filled, fails=True)


def test_another_backbone_through_a_config(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / 'slow.py').write_text(
        "backbone = dict(type='FrameEncoder', backbone=dict(type='mmaction.ResNet3dSlowOnly',"
        ' depth=18, base_channels=4, pretrained=None))\n'
        'clips = dict(num_clips=3, frames_per_clip=4, size=32)\n'
    )
    run_tool(
        'tools/extract_features.py', corpus / 'val.jsonl', tmp_path / 'out',
        '--config', tmp_path / 'slow.py', '--workers', 0,
    )  # fmt: skip
    store = PackedStore(str(tmp_path / 'out'))
    assert store.shape('val_00000') == (3, 32)
    assert np.isfinite(store.load('val_00001')).all()
