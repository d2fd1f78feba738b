"""A trained DeMUL answers where an image-text model does: the same commands, the same library."""

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from demul_mm.apis import MomentInferencer, published
from demul_mm.apis.publishing import publish
from demul_mm.app.asking import ask
from demul_mm.app.library import Library
from demul_mm.app.models import load_encoder
from demul_mm.app.rank_fusion import Found
from demul_mm.app.trained import TrainedModel, part_starts
from demul_mm.models.heads.joint_score import TERMS
from tests.app.colours import CLIPS, save_colour_model
from tests.app.films import write_film
from tests.app.test_main import demul


@pytest.fixture(scope='module')
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp('trained')
    save_colour_model(home / 'model', longest=20.0)
    write_film(home / 'films/one.mp4', ['black', 'red', 'black'])
    write_film(home / 'films/below/two.mp4', ['blue', 'black', 'green'])
    return home


def named(home: Path) -> str:
    return os.pathsep.join(str(home / 'model' / name) for name in ('config.py', 'weights.pth'))


@pytest.fixture(scope='module')
def sight(home: Path) -> TrainedModel:
    return TrainedModel(named(home), 'cpu')


def iou(span: tuple[float, float], other: tuple[float, float]) -> float:
    inter = min(span[1], other[1]) - max(span[0], other[0])
    return max(0.0, inter) / (max(span[1], other[1]) - min(span[0], other[0]))


def test_it_finds_what_it_was_trained_for(home: Path, sight: TrainedModel, tmp_path: Path) -> None:
    library = Library(tmp_path / 'library', lambda name: sight)
    assert library.update([home / 'films'])[:3] == (2, 0, 0)
    for colour, name, start in (('red', 'one.mp4', 3), ('green', 'two.mp4', 6)):
        best = library.search(f'something {colour}')[0]
        assert Path(best.path).name == name
        assert iou((best.start, best.end), (start, start + 3)) > 0.5
        assert best.why[0] == f'probability {best.probability:.3f}'
        joint = torch.tensor(sum(best.terms.values()))
        assert float(sight.model.calibrator(joint)) == pytest.approx(best.probability, abs=1e-4)
        own = library.ask(best.path, f'something {colour}')[0]
        assert iou((own.start, own.end), (start, start + 3)) > 0.5
    kept = list((library.path / 'frames').rglob('*.safetensors'))
    assert len(kept) == 2
    os.remove(home / 'films/below/two.mp4')
    assert library.update()[:3] == (0, 1, 1)
    assert len(list((library.path / 'frames').rglob('*.safetensors'))) == 1
    write_film(home / 'films/below/two.mp4', ['blue', 'black', 'green'])


def test_it_says_what_the_inferencer_says(home: Path, sight: TrainedModel) -> None:
    film = home / 'films/one.mp4'
    found = ask(film, 'something red', lambda: sight)
    find = MomentInferencer(home / 'model/config.py', home / 'model/weights.pth', 'cpu')
    (answer,) = find(film, 'something red')
    # What a library keeps is rounded to half precision.
    spans = [(hit.start, hit.end) for hit in found]
    np.testing.assert_allclose(spans, answer['spans'], atol=0.05)
    scores = [hit.score for hit in found]
    np.testing.assert_allclose(scores, answer['probabilities'], atol=0.01)


def test_a_video_may_be_forgotten_while_it_is_searched(
    home: Path, sight: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another process, after the index has named it."""
    library = Library(tmp_path / 'library', lambda name: sight)
    library.update([home / 'films'])
    found = library.search('something red', 100, ['picture'])
    gone, kept = (hit.key for hit in found[:: len(found) - 1])
    assert gone != kept
    refine = sight.refine

    def late(*args: Any) -> list[Found]:
        library._file(gone).unlink()
        library.catalogue.forget(found[0].path)
        return refine(*args)

    monkeypatch.setattr(sight, 'refine', late)
    left = library.search('something red', 100, ['picture'])
    assert {hit.key for hit in left} == {kept}
    assert library.ask_kept(gone, 'something red') == []


def test_a_probability_is_of_a_video_alone(
    home: Path, sight: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What search shows is what an alert compares, beside however many videos and parts."""
    library = Library(tmp_path / 'library', lambda name: sight)
    library.update([home / 'films'])
    shown = {
        hit.key: hit.probability for hit in library.search('something red', 100, ['picture'])[::-1]
    }
    assert len(shown) == 2
    for key, probability in shown.items():
        # As `ask` does, but for its refusal of a video that is unlike.
        (best,) = sight._fuse('something red', {'': sight.parts(library._file(key))}, 1)
        assert probability == pytest.approx(best.probability, abs=1e-4)
        assert best.score == pytest.approx(best.probability)
    film = write_film(tmp_path / 'long.mp4', ['black'] * 13 + ['red'] + ['black'] * 6)
    monkeypatch.setattr(sight, 'longest', 18.0)
    sight.write(str(film), tmp_path / 'long.safetensors')
    parts, offsets, duration = sight.parts(tmp_path / 'long.safetensors')
    (whole,) = sight.ask('something red', tmp_path / 'long.safetensors', 1, '')
    apart = []
    for part in zip(parts, offsets):
        monkeypatch.setattr(sight, 'parts', lambda file, p=part: ([p[0]], [p[1]], duration))
        apart += sight.ask('something red', tmp_path / 'long.safetensors', 1, '')
    best = max(apart, key=lambda one: one.score)
    assert whole[1:3] == pytest.approx(best[1:3], abs=1e-3)
    assert whole.probability == pytest.approx(best.probability, abs=1e-4)


def test_a_long_film_is_seen_in_parts(
    sight: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = write_film(tmp_path / 'long.mp4', ['black'] * 13 + ['red'] + ['black'] * 6)
    monkeypatch.setattr(sight, 'longest', 18.0)
    sight.write(str(film), tmp_path / 'long.safetensors')
    parts, offsets, duration = sight.parts(tmp_path / 'long.safetensors')
    assert duration == pytest.approx(60, abs=0.01)
    assert {round(part.extent, 2) for part in parts} == {18.0}
    assert offsets[-1] == pytest.approx(42, abs=0.01)
    (best, *_) = sight.ask('something red', tmp_path / 'long.safetensors', 5, '')
    assert iou((best.start, best.end), (39, 42)) > 0.5
    entry = sight.entry('key', tmp_path / 'long.safetensors')
    assert entry.spans.min() >= 0
    assert entry.spans.max() == pytest.approx(60, abs=0.01)
    assert len(entry.moments) == len(entry.spans)
    frames, _ = sight.frames(tmp_path / 'long.safetensors')
    assert len(frames) == 120
    curve = frames @ sight.encode_texts(['something red'])[0]
    assert 39 <= curve.argmax() / 2 <= 42


def test_where_a_long_film_is_parted_changes_no_answer(
    sight: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Borders of parts fall before, into and after the moment; one part at least has it whole."""
    film = write_film(tmp_path / 'long.mp4', ['black'] * 13 + ['red'] + ['black'] * 6)
    found = []
    for longest in (16.0, 18.0, 20.0, 27.0, 80.0 / 3):
        monkeypatch.setattr(sight, 'longest', longest)
        sight.write(str(film), tmp_path / 'long.safetensors')
        (best, *_) = sight.ask('something red', tmp_path / 'long.safetensors', 5, '')
        found.append((best.start, best.end))
    assert all(iou(span, (39, 42)) > 0.7 for span in found), found
    np.testing.assert_allclose(found, np.broadcast_to(found[0], (5, 2)), atol=0.6)


def test_parts_cover_the_whole() -> None:
    for length in range(1, 40):
        for size in range(1, length + 1):
            starts = part_starts(length, size)
            assert starts[0] == 0
            assert starts[-1] + size == length
            assert all(0 < b - a <= max(1, size // 2) for a, b in pairwise(starts))


def test_a_published_folder_is_a_model(
    home: Path, sight: TrainedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, 'PLACES', (*published.PLACES, 'tests.'))
    folder = publish(home / 'model/config.py', home / 'model/weights.pth', tmp_path / 'folder')
    again = load_encoder(str(folder), 'cpu', offline=True)
    assert isinstance(again, TrainedModel)
    assert again.fingerprint == sight.fingerprint
    assert again.longest == 20.0
    film = home / 'films/one.mp4'
    found = ask(film, 'something red', lambda: sight)
    assert ask(film, 'something red', lambda: again) == found
    described = tmp_path / 'backbone.py'  # in place of the checkpoint that says the same
    described.write_text(f'backbone = dict(type="ColourEye")\nclips = {CLIPS}\n')
    given = home / 'model/config.py', home / 'model/weights.pth', tmp_path / 'other', described
    other = load_encoder(str(publish(*given)), 'cpu', offline=True)
    assert ask(film, 'something red', lambda: other) == found
    (folder / 'extractor.safetensors').unlink()
    content = json.loads((folder / 'config.json').read_text())
    del content['extractor']
    (folder / 'config.json').write_text(json.dumps(content))
    with pytest.raises(ValueError, match='publish it with --extractor'):
        load_encoder(str(folder), 'cpu')
    with pytest.raises(ValueError, match='--model CONFIG --weights WEIGHTS'):
        load_encoder(str(home / 'model/config.py'), 'cpu')


@pytest.mark.slow
def test_the_same_commands(home: Path, tmp_path: Path) -> None:
    model = ['--model', home / 'model/config.py', '--weights', home / 'model/weights.pth']
    films = str(home / 'films/**/*.mp4')
    done = demul('index', films, *model, '--device', 'cpu', cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert '2 added, 0 as before' in done.stdout
    found = demul('search', 'something red', '--json', '--device', 'cpu', cwd=tmp_path)
    best = json.loads(found.stdout)['moments'][0]
    assert best['video'].endswith('one.mp4')
    assert best['why'][0] == f'probability {best["probability"]:.3f}'
    assert set(best['terms']) == {*TERMS}
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    film = home / 'films/one.mp4'
    own = demul('ask', film, 'something red', *model, '--json', '--device', 'cpu', cwd=elsewhere)
    assert json.loads(own.stdout)['moments'][0]['why'][0].startswith('probability'), own.stderr
    assert list(elsewhere.iterdir()) == []
