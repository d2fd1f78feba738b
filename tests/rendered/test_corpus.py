"""The rendered corpus: what its sentences say is true, once, and is what the films show."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from demul_mm.rendered import contact_sheet, render_corpus
from demul_mm.rendered.world import COLOURS, FPS, held_out_combinations
from tests.tools.running import Done, call

av = pytest.importorskip('av')

SHORT = dict(train=2, val=2, test=1, seed=3, min_seconds=9, max_seconds=12)

# -- an independent reading of the sentences ---------------------------------------------------

COLOUR_WORDS = {
    'crimson': 'red', 'emerald': 'green', 'azure': 'blue', 'golden': 'yellow', 'violet': 'purple',
    'turquoise': 'cyan', 'snow-white': 'white', **{c: c for c in COLOURS},
}  # fmt: skip
SHAPE_WORDS = {
    'circle': 'disc', 'ball': 'disc', 'box': 'square', 'block': 'square', 'wedge': 'triangle',
    'plus sign': 'cross', 'hoop': 'ring', 'shape': None, 'object': None, 'thing': None,
    **{s: s for s in ('disc', 'square', 'triangle', 'cross', 'ring')},
}  # fmt: skip
ACTION_PATTERNS = (
    (r'touch|contact|meet|\bmet\b', 'touch'),
    (r'switched|blink|flash|flicker', 'blink'),
    (r'bounc|hop(s|p)|shaken', 'bounce'),
    (r'sway|sw[iu]ng|rocked', 'sway'),
    (r'enter|come|coming|arriv', 'enter'),
    (r'leav|\bhas left\b|go(es|ing|ne) out|exit|disappear', 'leave'),
    (r'leftwards|to the left', 'move_left'),
    (r'rightwards|to the right', 'move_right'),
    (r'upwards|\bup$|\bup\b|ris(es|ing|en)', 'move_up'),
    (r'downwards|\bdown\b|sink|sunk', 'move_down'),
    (r'spin|spun|rotat|turn(s|ing|ed) on', 'spin'),
    (r'grow|bigger|expand|enlarged', 'grow'),
    (r'shr[iu]nk|smaller|contract', 'shrink'),
)
NOUN = re.compile(
    rf'\b(?:({"|".join(sorted(COLOUR_WORDS, key=len, reverse=True))}) )?'
    rf'({"|".join(SHAPE_WORDS)})\b'
)
TIMES = {'first time': 0, 'second time': 1, 'once more': 1, 'third time': 2, 'last time': -1}


def read_clause(text: str) -> dict:
    nouns = [(COLOUR_WORDS.get(c), SHAPE_WORDS[s]) for c, s in NOUN.findall(text)]
    action = next(a for pattern, a in ACTION_PATTERNS if re.search(pattern, text))
    side = re.search(r'(?:from|at) the (left|right|top|bottom)', text)
    return {'nouns': nouns, 'action': action, 'side': side and side.group(1)}


def read_sentence(sentence: str) -> tuple[dict, int | None, str | None, dict | None]:
    """The main clause, the ordinal, the relation and the other clause."""
    text = sentence[0].lower() + sentence[1:].rstrip('.')
    ordinal = next((n for words, n in TIMES.items() if words in text), None)
    for words in TIMES:
        text = re.sub(rf'(for the |a |one )?{words}(, )?', '', text)
    word = r'(after|once|before|while|as)'
    if found := re.match(rf'{word} (.*), (.*)', text):
        relation, other, main = found.groups()
    elif found := re.match(rf'(.*) {word} (.*)', text):
        main, relation, other = found.groups()
    else:
        return read_clause(text), ordinal, None, None
    relation = {'once': 'after', 'as': 'while'}.get(relation, relation)
    return read_clause(main), ordinal, relation, read_clause(other)


def is_described(clause: dict, event: dict, actors: list[dict]) -> bool:
    def named(noun: tuple, index: int) -> bool:
        actor = actors[index]
        return noun[0] in (None, actor['colour']) and noun[1] in (None, actor['shape'])

    if clause['action'] not in (event['action'], *event['implies']):
        return False
    if clause['side'] not in (None, event['side']):
        return False
    first, second = event['actor'], event['other']
    if clause['action'] != 'touch':
        return named(clause['nouns'][0], first)
    a, b = clause['nouns']
    return (named(a, first) and named(b, second)) or (named(a, second) and named(b, first))


def answers(sentence: str, truth: dict) -> list[list[float]]:
    """The spans of all events of a video that a sentence describes."""
    main, ordinal, relation, other = read_sentence(sentence)
    found = [e for e in truth['events'] if is_described(main, e, truth['actors'])]
    if ordinal is not None:
        assert len(found) > 1, 'an ordinal for something that happens once'
        found = [sorted(found, key=lambda e: e['span'])[ordinal]]
    if relation:
        anchors = [e for e in truth['events'] if is_described(other, e, truth['actors'])]
        assert len(anchors) == 1, f'{other} is not one event'
        start, end = anchors[0]['span']
        found = [
            e
            for e in found
            if (relation == 'after' and e['span'][0] >= end - 0.5)
            or (relation == 'before' and e['span'][1] <= start + 0.5)
            or (relation == 'while' and min(e['span'][1], end) > max(e['span'][0], start))
        ]
    return [e['span'] for e in found]


# -- annotations -------------------------------------------------------------------------------


def read(folder: Path, split: str) -> tuple[list[dict], list[dict]]:
    annotations, truths = (
        [json.loads(row) for row in (folder / name).read_text().splitlines()]
        for name in (f'{split}.jsonl', f'truth/{split}.jsonl')
    )
    return annotations, truths


@pytest.fixture(scope='module')
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of annotations without videos."""
    folder = tmp_path_factory.mktemp('scripts')
    return render_corpus(folder, train=90, val=40, test=40, seed=5, videos=False)


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_each_sentence_describes_one_moment(scripts: Path, split: str) -> None:
    for annotation, truth in zip(*read(scripts, split)):
        sentences = [q['query'] for q in annotation['queries']]
        assert len(set(sentences)) == len(sentences) >= 5
        for query in annotation['queries']:
            assert answers(query['query'], truth) == query['spans'], query


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_spans_are_inside_and_vary(scripts: Path, split: str) -> None:
    lengths = []
    for annotation, _ in zip(*read(scripts, split)):
        assert 20 <= annotation['duration'] <= 90
        for query in annotation['queries']:
            ((start, end),) = query['spans']
            assert 0 <= start < end <= annotation['duration']
            lengths.append(end - start)
    assert min(lengths) >= 1
    assert np.median(lengths) > 2.5
    assert max(lengths) > 15


def test_rivals_share_colour_shape_and_action(scripts: Path) -> None:
    """No single word tells the target apart: others share its actor, its action, its looks."""
    same_thing, same_action, alike = [], [], []
    for _, truth in zip(*read(scripts, 'val')):
        actors, events = truth['actors'], truth['events']
        named = [
            (actors[e['actor']]['colour'], actors[e['actor']]['shape'], e['action'])
            for e in events
            if e['action'] != 'approach'
        ]
        for target in truth['targets']:
            event = events[target]
            actor = actors[event['actor']]
            key = (actor['colour'], actor['shape'], event['action'])
            others = [other for other in named if other != key]
            same_thing.append(any(o[:2] == key[:2] for o in others))
            same_action.append(any(o[2] == key[2] for o in others))
            alike.append(any((o[0] == key[0]) != (o[1] == key[1]) for o in others))
    assert np.mean(same_thing) > 0.9
    assert np.mean(same_action) > 0.6
    assert np.mean(alike) > 0.85


def test_held_out_combinations_are_not_in_training(scripts: Path) -> None:
    held_out = set(held_out_combinations())

    def shown(split: str) -> tuple[set, set]:
        happens, asked = set(), set()
        for _, truth in zip(*read(scripts, split)):
            keys = [
                (*(truth['actors'][e['actor']][k] for k in ('colour', 'shape')), e['action'])
                for e in truth['events']
            ]
            happens |= set(keys)
            asked |= {keys[t] for t in truth['targets']}
        return happens, asked

    assert not shown('train')[0] & held_out
    for split in ('val', 'test'):
        assert len(shown(split)[1] & held_out) > 20
        annotations, _ = read(scripts, split)
        tags = [tag for a in annotations for tags in a['meta']['tags'].values() for tag in tags]
        queries = sum(len(a['queries']) for a in annotations)
        assert tags.count('novel_combination') > 0.25 * queries


def test_a_constant_window_scores_little(scripts: Path) -> None:
    """The best constant window and the whole video, at R@1, IoU > .5, in percent."""
    spans = np.array(
        [
            np.array(q['spans'][0]) / a['duration']
            for a, _ in zip(*read(scripts, 'train'))
            for q in a['queries']
        ]
    )
    best = 0.0
    for start in np.arange(0, 1, 0.05):
        for end in np.arange(start + 0.05, 1.001, 0.05):
            shared = np.minimum(spans[:, 1], end) - np.maximum(spans[:, 0], start)
            union = np.maximum(spans[:, 1], end) - np.minimum(spans[:, 0], start)
            best = max(best, 100 * float(np.mean(shared > 0.5 * union)))
    assert best < 20


def test_actors_meet_only_where_it_is_said(scripts: Path) -> None:
    """Whoever overlaps on the picture is in a touch event, or on its way to or from one."""
    meetings = 0
    for _, truth in zip(*read(scripts, 'train')):
        tracks = np.array(truth['tracks'], float)  # (N, seconds, 5)
        touches = [e for e in truth['events'] if e['action'] == 'touch']
        for a in range(len(tracks)):
            for b in range(a):
                (t, x, y, r, here), (_, u, v, q, there) = tracks[a].T, tracks[b].T
                near = (np.hypot(x - u, y - v) < 0.93 * (r + q)) & (here > 0) & (there > 0)
                spans = [e['span'] for e in touches if {e['actor'], e['other']} == {a, b}]
                for second in t[near]:
                    meetings += 1
                    assert any(start - 1 <= second <= end + 1 for start, end in spans)
    assert meetings > 50


def test_same_seed_same_annotations(tmp_path: Path) -> None:
    a = render_corpus(tmp_path / 'a', train=4, val=3, seed=7, videos=False)
    b = render_corpus(tmp_path / 'b', train=6, val=1, seed=7, videos=False)
    c = render_corpus(tmp_path / 'c', train=4, val=3, seed=8, videos=False)
    rows = [(f / 'train.jsonl').read_text().splitlines() for f in (a, b, c)]
    assert rows[0] == rows[1][:4]
    assert rows[0] != rows[2]


# -- films -------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few short films of each split."""
    return render_corpus(tmp_path_factory.mktemp('films'), workers=1, **SHORT)


def decode(path: Path) -> tuple[np.ndarray, float]:
    """Frames (F, H, W, 3) and the duration in seconds."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [f.to_ndarray(format='rgb24') for f in container.decode(stream)]
        return np.stack(frames), float(stream.duration * stream.time_base)


def test_more_films_change_no_other(tmp_path: Path) -> None:
    folder = render_corpus(tmp_path, train=3, val=2, seed=2, videos=False)
    before = {split: read(folder, split) for split in ('train', 'val')}
    render_corpus(tmp_path, train=3, val=2, test=2, seed=2, videos=False)
    assert {split: read(folder, split) for split in ('train', 'val')} == before
    annotations, truths = read(folder, 'test')
    assert [row['video_id'] for row in annotations] == ['test_00000', 'test_00001']
    known = [truth['events'] for _, rows in before.values() for truth in rows]
    assert all(truth['events'] not in known for truth in truths)
    assert any('novel_combination' in t for a in annotations for t in a['meta']['tags'].values())
    with pytest.raises(ValueError, match=r'test=2 \(now 1\)'):
        render_corpus(tmp_path, train=3, val=2, test=1, seed=2, videos=False)


@pytest.mark.usefixtures('warm')
def test_films_do_not_depend_on_the_number_of_workers(corpus: Path, tmp_path: Path) -> None:
    other = render_corpus(tmp_path / 'other', workers=2, **SHORT)
    names = sorted(p.name for p in (corpus / 'videos').iterdir())
    assert len(names) == 5
    assert names == sorted(p.name for p in (other / 'videos').iterdir())
    for name in names:
        assert np.array_equal(
            decode(corpus / 'videos' / name)[0], decode(other / 'videos' / name)[0]
        )
    for name in ('train.jsonl', 'val.jsonl', 'truth/train.jsonl', 'manifest.json'):
        assert (corpus / name).read_bytes() == (other / name).read_bytes()


def test_films_last_as_long_as_annotated(corpus: Path) -> None:
    for split in ('train', 'val', 'test'):
        for annotation, _ in zip(*read(corpus, split)):
            frames, seconds = decode(corpus / annotation['video'])
            assert abs(seconds - annotation['duration']) <= 1 / FPS
            assert abs(len(frames) / FPS - annotation['duration']) <= 1 / FPS


def test_actors_are_where_the_truth_says(corpus: Path) -> None:
    """A disc, square or triangle has its colour at its centre; nothing has it where none is."""
    seen = 0
    for annotation, truth in zip(*read(corpus, 'val')):
        frames, _ = decode(corpus / annotation['video'])
        for actor, track in zip(truth['actors'], truth['tracks']):
            if actor['shape'] == 'ring':
                continue
            colour = np.array(COLOURS[actor['colour']], float)
            distance = []
            for seconds, x, y, _, visible in track:
                if visible and 4 < x < 60 and 4 < y < 60:
                    patch = frames[round(seconds * FPS), round(y) - 1 : round(y) + 2][
                        :, round(x) - 1 : round(x) + 2
                    ]
                    distance.append(np.abs(patch.mean((0, 1)) - colour).mean())
            seen += len(distance)
            assert not distance or np.median(distance) < 45
    assert seen > 20


def test_finished_films_are_kept(tmp_path: Path) -> None:
    folder = render_corpus(tmp_path, train=1, val=1, min_seconds=8, max_seconds=8, workers=1)
    keep, lose = folder / 'videos/train_00000.mp4', folder / 'videos/val_00000.mp4'
    before, content = keep.stat().st_mtime_ns, lose.read_bytes()
    lose.unlink()
    render_corpus(tmp_path, train=1, val=1, min_seconds=8, max_seconds=8, workers=1)
    assert keep.stat().st_mtime_ns == before
    assert lose.read_bytes() == content


def test_other_arguments_are_refused(corpus: Path) -> None:
    with pytest.raises(ValueError, match=r'seed=3 \(now 4\).*another folder'):
        render_corpus(corpus, **{**SHORT, 'seed': 4})


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(train=0, val=0), 'at least one'),
        (dict(test=-1), 'test=-1'),
        (dict(min_seconds=2), 'min_seconds'),
        (dict(seed=-1), 'seed=-1'),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_corpus(tmp_path, **arguments)


def test_command(tmp_path: Path) -> None:
    def run(*arguments: str) -> Done:
        return call('tools/data/rendered/make_corpus.py', tmp_path / 'c', *arguments)

    small = ('--train', '0', '--val', '0', '--test', '1', '--workers', '1')
    small += ('--min-seconds', '8', '--max-seconds', '9')
    done = run(*small, '--preview', str(tmp_path / 'sheet.png'))
    assert (done.code, 'holds 0 train, 0 val, 1 test films' in done.out) == (0, True)
    assert (tmp_path / 'sheet.png').stat().st_size > 1000
    assert json.loads((tmp_path / 'c/manifest.json').read_text())['complete']
    refused = run(*small, '--seed', '1')
    assert (refused.code, 'seed=0 (now 1)' in refused.err) == (2, True)
    # What is not given is as in the folder: looking at films makes no others.
    before = {path: path.read_bytes() for path in (tmp_path / 'c').rglob('*') if path.is_file()}
    assert run('--workers', '1', '--preview', str(tmp_path / 'again.png')).code == 0
    after = {path: path.read_bytes() for path in (tmp_path / 'c').rglob('*') if path.is_file()}
    assert after == before
    assert (tmp_path / 'again.png').read_bytes() == (tmp_path / 'sheet.png').read_bytes()


def test_contact_sheet(corpus: Path, tmp_path: Path) -> None:
    cv2 = pytest.importorskip('cv2')
    contact_sheet(corpus, tmp_path / 'sheet.png', videos=2)
    picture = cv2.imread(str(tmp_path / 'sheet.png'))
    assert picture.shape[1] > 1000
    assert picture.std() > 20


def test_the_data_set_class_reads_it(corpus: Path) -> None:
    from demul_mm.datasets import JsonlMomentDataset, validate_jsonl

    for split in ('train', 'val', 'test'):
        assert validate_jsonl(str(corpus / f'{split}.jsonl')) == []
    dataset = JsonlMomentDataset(
        ann_file=str(corpus / 'val.jsonl'),
        split='val',
        data_prefix=dict(video=str(corpus)),
        pipeline=[],
    )
    item = dataset.get_data_info(0)
    assert Path(item['video_path']).is_file()
    assert len(item['queries']) >= 5
