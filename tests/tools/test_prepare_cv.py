"""What the cross-validations read, made of published files."""

import csv
import hashlib
import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from mmengine.config import Config

from demul_mm.datasets import CharadesSTADataset, HDF5Store, validate_jsonl
from demul_mm.datasets.subtitles import read_timed_text
from tests.tools.running import ROOT, call

DATA = ROOT / 'tools' / 'data'


def run(name: str, *arguments: object) -> tuple[int, str]:
    done = call(f'tools/data/{name}/prepare_cv.py', *arguments)
    return done.code, done.out + done.err


def write_list(path: Path, *videos: str) -> Path:
    """The file that --videos reads, of these."""
    path.write_text('\n'.join(hashlib.sha1(video.encode()).hexdigest()[:8] for video in videos))
    return path


@pytest.mark.parametrize(('name', 'number'), [('charades', 1000), ('youcook2', 235)])
def test_the_list_is_of_as_many_videos_as_were_tested(name: str, number: int) -> None:
    known = (DATA / name / 'cv_videos.sha1').read_text().split()
    assert len(set(known)) == len(known) == number


class TestCharades:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """Features of two videos of the list and one other, and the lines of these and a fourth."""
        first, second, third = 'B1', 'A2', 'C3'
        write_list(tmp_path / 'list', first, second, third)
        rng = np.random.default_rng(0)
        (tmp_path / 'feat').mkdir()
        for video in (first, second, 'AAAAA'):
            np.save(tmp_path / 'feat' / f'{video}.npy', rng.standard_normal((256, 6)))
        lines = [f'{v} 1.0 2.5##a person {v}.' for v in (second, first, 'AAAAA', third, second)]
        (tmp_path / 'annotations').mkdir()
        (tmp_path / 'annotations/charades_sta_test.txt').write_text('\n'.join([*lines, '']))
        return tmp_path

    def test_four_rows_become_one(self, source: Path) -> None:
        code, output = run(
            'charades', source / 'feat', '--data', source, '--videos', source / 'list'
        )
        first, second = 'B1', 'A2'
        assert code == 0
        assert '2 videos, 3 queries; 1 left out' in output
        with h5py.File(source / 'features/clip_l14.hdf5') as file:
            assert sorted(file) == [second, first]
            assert file[first].dtype == np.float16
            found = file[second][()]
        rows = np.load(source / 'feat' / f'{second}.npy')
        expected = [rows[4 * i : 4 * i + 4].mean(0) for i in range(64)]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
        assert HDF5Store(str(source / 'features/clip_l14.hdf5'), dim=6).shape(first) == (64, 6)
        info = source / 'test.csv'
        info.write_text(f'id,length\n{first},30\n{second},30\n')
        options = dict(split='test', pipeline=[], info_file=str(info))
        file = source / 'annotations/charades_sta_cv.txt'
        assert len(CharadesSTADataset(ann_file=str(file), **options)) == 2

    def test_all_takes_what_is_there(self, source: Path) -> None:
        code, output = run('charades', source / 'feat', '--data', source, '--all')
        assert code == 0
        assert '3 videos, 4 queries; 1 left out' in output

    def test_rows_that_cannot_be_averaged_are_named(self, source: Path) -> None:
        first = 'B1'
        np.save(source / 'feat' / f'{first}.npy', np.zeros((250, 6)))
        code, output = run(
            'charades', source / 'feat', '--data', source, '--videos', source / 'list'
        )
        assert code == 2
        assert f"video '{first}': (250, 6), expected rows in a multiple of 64" in output
        assert not list((source / 'features').iterdir())


class TestQVHighlights:
    @pytest.mark.parametrize('packed', [False, True])
    def test_captions_of_the_queried_videos(self, tmp_path: Path, packed: bool) -> None:
        source = tmp_path / 'val'
        source.mkdir()
        for vid in ('a_0.0_150.0', 'b_0.0_150.0', 'other'):
            rows = [dict(moment=i, description=f'{vid} {i}') for i in range(2)]
            (source / f'{vid}.jsonl').write_text('\n'.join(map(json.dumps, rows)))
        if packed:
            with zipfile.ZipFile(tmp_path / 'val.zip', 'w') as archive:
                for path in source.iterdir():
                    archive.write(path, f'val/{path.name}')
            source = tmp_path / 'val.zip'
        (tmp_path / 'annotations').mkdir()
        queries = tmp_path / 'annotations/highlight_val_release.jsonl'
        vids = ['b_0.0_150.0', 'a_0.0_150.0', 'a_0.0_150.0']
        queries.write_text('\n'.join(json.dumps(dict(qid=1, vid=vid)) for vid in vids))
        assert run('qvhighlights', source, '--data', tmp_path)[0] == 0
        out = tmp_path / 'annotations/captions_val.zip'
        with zipfile.ZipFile(out) as archive:
            assert archive.namelist() == ['val/a_0.0_150.0.jsonl', 'val/b_0.0_150.0.jsonl']
        first, _ = read_timed_text(str(out), clip_seconds=2)
        assert [s.text for s in first.subtitles] == ['a_0.0_150.0 0', 'a_0.0_150.0 1']
        queries.write_text(queries.read_text() + '\n' + json.dumps(dict(qid=2, vid='c')))
        code, output = run('qvhighlights', source, '--data', tmp_path)
        assert code == 1
        assert '1 without captions:\n  c' in output


class TestYouCook2:
    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        """A video of the list, another, and one without steps."""
        first = 'taken'
        write_list(tmp_path / 'list', first, 'gone')
        url = 'https://www.youtube.com/watch?v='
        said = {
            first: [('00:01.5', 'hello.'), ('0:00:04', 'cut it, please.'), ('01:02.3', 'bye.')],
            'other': [('00:00.1', 'hi.')],
            'mute': [('00:00.1', 'hm.')],
        }
        with open(tmp_path / 'reviewed_0812.csv', 'w', newline='') as file:
            writer = csv.writer(file)
            writer.writerow(['No', 'VideoUrl', 'TimeStamp', 'Sentence', 'RowNumber'])
            for video, rows in said.items():
                writer.writerows([0, url + video, *row, 0] for row in rows)
        steps = [(first, 3, 20, 'cut the onion'), (first, 60, 90, 'x'), ('other', 0, 5, 'stir')]
        lines = [f'{url}{video}\t{start}\t{end}\t{text}' for video, start, end, text in steps]
        (tmp_path / 'urlsegmentcaption.txt').write_text('\n'.join(lines))
        clips = [(first, 0.0333, 10), (first, 10, 70.1234), ('other', 0, 8.5), ('mute', 0, 9)]
        lines = [f'{video}_1 {video} {start} {end}' for video, start, end in clips]
        (tmp_path / 'clip_manifest_10s.txt').write_text('\n'.join(lines))
        return tmp_path

    def test_speech_lasts_until_the_next_sentence(self, source: Path) -> None:
        code, output = run('youcook2', source, '--data', source, '--videos', source / 'list')
        assert code == 0
        assert '1 videos, 1 queries' in output
        assert 'left out: 0 videos, 1 steps outside of theirs' in output
        path = source / 'annotations/videos.jsonl'
        (line,) = path.read_text().splitlines()
        video = 'taken'
        assert json.loads(line) == dict(
            video_id=video,
            duration=70.12,
            queries=[dict(query_id=f'{video}#0', query='cut the onion', spans=[[3.0, 20.0]])],
            subtitles=[[1.5, 4.0, 'hello.'], [4.0, 16.0, 'cut it, please.'], [62.3, 70.12, 'bye.']],
        )
        assert not validate_jsonl(str(path))

    def test_all_takes_what_has_speech_steps_and_a_length(self, source: Path) -> None:
        code, output = run('youcook2', source, '--data', source, '--all')
        assert code == 0
        assert '2 videos, 2 queries' in output

    def test_broken_lines_are_named(self, source: Path) -> None:
        path = source / 'urlsegmentcaption.txt'
        path.write_text(path.read_text() + '\nhttps://x\t1\t2')
        code, output = run('youcook2', source, '--data', source, '--videos', source / 'list')
        assert code == 2
        assert "line 4: 'https://x\\t1\\t2', expected url, start, end, text" in output


@pytest.mark.parametrize(
    ('config', 'made'),
    [
        ('charades_clip_cv', ['charades_sta_cv.txt', 'clip_l14.hdf5']),
        ('qvhighlights_captions_cv', ['captions_val.zip']),
        ('youcook2_transcripts_cv', ['videos.jsonl']),
    ],
)
def test_the_configs_read_what_is_made(config: str, made: list[str]) -> None:
    text = Config.fromfile(ROOT / 'configs' / f'demul_{config}.py').pretty_text
    tool = DATA / config.partition('_')[0] / 'prepare_cv.py'
    for name in made:
        assert name in text
        assert name in tool.read_text()
