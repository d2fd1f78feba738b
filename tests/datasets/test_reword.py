"""False variants of queries: one word is another of its kind, and nothing said of the video."""

import numpy as np
import pytest

from demul_mm.datasets import JsonlMomentDataset
from demul_mm.datasets.rewording import END, START, WORD, SimilarWords, meanings
from demul_mm.datasets.transforms import PackMomentInputs, RewordQueries, SampleQueries
from demul_mm.datasets.transforms.augment import warp_time
from demul_mm.stems import stem
from tests.datasets.helpers import write_jsonl

KINDS = {
    'colour': ['red', 'blue', 'green', 'yellow'],
    'animal': ['dog', 'cat', 'horse', 'goat'],
    'verb': ['chases', 'bites', 'sees', 'follows'],
    'way': ['up', 'down', 'across', 'past'],
    'thing': ['ball', 'fence', 'boat', 'tree'],
}
KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}


def sentences(number: int = 400) -> list[str]:
    rng = np.random.default_rng(0)
    texts = []
    for i in range(number):
        colour, animal, verb, way, thing = (rng.choice(words) for words in KINDS.values())
        if i % 2:
            texts.append(f'The {colour} {animal} {verb} the {animal}.')
        else:
            texts.append(f'A {animal} runs {way} the {colour} {thing}')
    return texts


class Split:
    """A data set as the step sees it: four sentences a video."""

    def __init__(self, texts: list[str]) -> None:
        self.infos = [
            {'queries': texts[i : i + 4], 'sample_idx': i // 4} for i in range(0, len(texts), 4)
        ]

    def __len__(self) -> int:
        return len(self.infos)

    def get_data_info(self, index: int) -> dict:
        return dict(self.infos[index])


def item(split: Split, index: int, seed: int = 0) -> dict:
    return {**split.get_data_info(index), 'rng': np.random.default_rng([seed, index])}


@pytest.fixture(scope='module')
def split() -> Split:
    return Split(sentences())


@pytest.fixture(scope='module')
def step(split: Split) -> RewordQueries:
    step = RewordQueries(prob=1.0)
    step.attach(split)
    return step


def test_kinds_are_learnt_from_neighbours() -> None:
    words = SimilarWords(sentences())
    found = words.alternatives('red', 'the', 'dog')
    assert set(found) == {'blue', 'green', 'yellow'}
    assert set(words.alternatives('up', 'runs', 'the')) == {'down', 'across', 'past'}
    assert words.alternatives('runs', 'dog', 'up') == []  # nothing else was ever there
    assert words.alternatives('the', START, 'red') == []  # says nothing
    assert words.alternatives('unheard', START, END) == []
    # Not where it was never seen: 'tree' ends a sentence, or is not there.
    assert words.alternatives('ball', 'red', 'bites') == []
    shuffled = SimilarWords(list(reversed(sentences())))
    assert shuffled._similar == words._similar


def test_rare_and_dissimilar_words_are_left_alone() -> None:
    texts = ['a red dog runs', 'a blue dog runs'] * 3 + ['a mauve dog runs']
    assert SimilarWords(texts, min_count=3).alternatives('red', 'a', 'dog') == ['blue']
    assert SimilarWords(texts, min_count=1).alternatives('red', 'a', 'dog') == ['blue', 'mauve']
    assert SimilarWords(texts, min_count=4).alternatives('red', 'a', 'dog') == []
    one = SimilarWords(texts, min_count=1, num_similar=1).alternatives('red', 'a', 'dog')
    assert one == ['blue']
    mixed = ['red dog', 'red cat', 'big dog', 'big cow', 'big pig', 'big hen']
    # The right neighbours share sqrt(1/2 * 1/4); the left ones are all the start.
    assert SimilarWords(mixed, 1, min_similarity=0.35).alternatives('red', START, 'dog') == ['big']
    assert SimilarWords(mixed, 1, min_similarity=0.36).alternatives('red', START, 'dog') == []
    assert SimilarWords([]).alternatives('red', 'a', 'dog') == []


def test_one_word_differs_and_is_of_the_same_kind(split: Split, step: RewordQueries) -> None:
    replaced = set()
    for index in range(len(split)):
        results = step(item(split, index))
        assert len(results['hard_queries']) == len(results['queries']) == 4
        assert results['queries'] == split.infos[index]['queries']
        said = {w for text in results['queries'] for w in WORD.findall(text.lower())}
        for text, variant in zip(results['queries'], results['hard_queries']):
            if not variant:
                continue
            one, two = text.split(), variant.split()
            assert len(one) == len(two)
            ((old, new),) = [(a, b) for a, b in zip(one, two) if a != b]
            assert old.endswith('.') == new.endswith('.')
            old, new = old.strip('.').lower(), new.strip('.').lower()
            assert KIND_OF[old] == KIND_OF[new]
            assert new not in said
            replaced.add((old, new))
    assert len(replaced) > 30


def test_what_another_sentence_makes_true_is_never_put_in(step: RewordQueries) -> None:
    texts = ['A dog runs up the red ball', 'it is blue and green', 'something yellow']
    own = Split(texts)
    step = RewordQueries(prob=1.0)
    step.attach(Split(sentences()))
    step._dataset = own
    # Also when an earlier step dropped those sentences.
    kept = {'queries': texts[:1], 'sample_idx': 0}
    for seed in range(40):
        (variant,) = step({**kept, 'rng': np.random.default_rng(seed)})['hard_queries']
        assert 'red' in variant.split()
    everything = ' '.join(word for words in KINDS.values() for word in words)
    results = step({'queries': [*texts, everything], 'sample_idx': 0})
    assert results['hard_queries'] == [''] * 4


def test_words_that_mean_the_same_do_not_replace_each_other() -> None:
    assert stem('running') == stem('runs') == stem('run')
    assert stem('puts') == stem('putting') == stem('put')
    assert stem('ladies') == stem('lady')
    assert stem('places') == stem('placing') == stem('place')
    assert stem('bus') == 'bus'
    for one, two in [('man', 'guy'), ('woman', 'chef'), ('talks', 'speaking'), ('takes', 'grabs')]:
        assert meanings(one) & meanings(two)
    for one, two in [('man', 'woman'), ('up', 'down'), ('takes', 'puts'), ('red', 'blue')]:
        assert not meanings(one) & meanings(two)
    texts = [f'the {who} sits' for who in ('man', 'guy', 'woman', 'cat')] * 5
    assert SimilarWords(texts).alternatives('man', 'the', 'sits') == ['cat', 'woman']
    split = Split(['the cat sits', 'a lady talks'])
    step = RewordQueries(prob=1.0)
    step.attach(Split(texts))
    step._dataset = split
    drawn = {
        step({'queries': ['the cat sits'], 'sample_idx': 0})['hard_queries'][0] for _ in range(30)
    }
    assert drawn == {'the man sits', 'the guy sits'}  # a lady is there, and may be the woman


def test_capitals_and_punctuation_stay() -> None:
    texts = ['Dogs bark, loudly!', 'Cats bark, loudly!'] * 5
    step = RewordQueries(prob=1.0)
    step.attach(Split(texts))
    step._dataset = Split(['Dogs bark, loudly!'])
    assert step({'queries': ['Dogs bark, loudly!'], 'sample_idx': 0})['hard_queries'] == [
        'Cats bark, loudly!'
    ]


def test_the_generator_decides(split: Split, step: RewordQueries) -> None:
    one, two = step(item(split, 3)), step(item(split, 3))
    assert one['hard_queries'] == two['hard_queries']
    others = [step(item(split, 3, seed))['hard_queries'] for seed in range(1, 9)]
    assert any(other != one['hard_queries'] for other in others)
    never = RewordQueries(prob=0.0)
    never.attach(split)
    assert never(item(split, 3))['hard_queries'] == [''] * 4
    half = RewordQueries(prob=0.5)
    half.attach(split)
    made = [bool(v) for i in range(len(split)) for v in half(item(split, i))['hard_queries']]
    assert 0.35 < np.mean(made) < 0.6


def test_other_steps_keep_the_lists_parallel() -> None:
    results = {
        'queries': list('abcdef'),
        'query_ids': list('123456'),
        'hard_queries': ['', 'B', '', 'D', '', 'F'],
        'gt_spans': [np.array([[10.0 * q, 10.0 * q + 9]]) for q in range(6)],
        'streams': {'visual': np.zeros((60, 2), np.float32)},
        'extent': 60.0,
        'duration': 60.0,
        'rng': np.random.default_rng(0),
    }
    cut = warp_time(results, np.array([0, 20, 50, 60.0]), np.array([0, 0, 30, 30.0]))
    assert (cut['queries'], cut['hard_queries']) == (list('cde'), ['', 'D', ''])
    few = SampleQueries(2)(dict(cut))
    pairs = dict(zip(cut['queries'], cut['hard_queries']))
    assert [pairs[q] for q in few['queries']] == few['hard_queries']
    few.update(video_id='v')
    sample = PackMomentInputs()(few)['data_samples']
    assert sample.hard_queries == few['hard_queries']
    assert sample.clone().to('cpu').to_dict()['hard_queries'] == few['hard_queries']
    del few['hard_queries']
    assert 'hard_queries' not in PackMomentInputs()(few)['data_samples']


def test_in_the_pipeline_of_a_data_set(tmp_path) -> None:
    texts = sentences()
    rows = []
    for number in range(30):
        queries = [{'query': t, 'spans': [[1, 5]]} for t in texts[4 * number : 4 * number + 4]]
        rows.append({'video_id': f'v{number}', 'duration': 20.0, 'queries': queries})
        np.save(tmp_path / f'v{number}.npy', np.ones((10, 4), np.float32))
    dataset = JsonlMomentDataset(
        write_jsonl(tmp_path / 'a.jsonl', rows),
        split='train',
        features=dict(visual=dict(type='FolderStore', path=str(tmp_path), dim=4)),
        pipeline=[
            dict(type='LoadVideoFeature'),
            dict(type='SampleQueries', max_queries=2),
            dict(type='RewordQueries', prob=1.0),
            dict(type='PackMomentInputs'),
        ],
    )
    sample = dataset[3]['data_samples']
    assert len(sample.hard_queries) == len(sample.queries) == 2
    assert all(v and v != q for q, v in zip(sample.queries, sample.hard_queries))


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(prob=2), 'prob=2'),
        (dict(min_similarity=-1), 'min_similarity=-1'),
        (dict(min_count=0), 'min_count=0: give at least 1'),
    ],
)
def test_wrong_options_are_named(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        RewordQueries(**options)


def test_without_a_data_set_it_says_so() -> None:
    with pytest.raises(ValueError, match='knows no words'):
        RewordQueries()({'queries': ['a dog']})
