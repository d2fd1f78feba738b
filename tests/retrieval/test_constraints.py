"""What words about time mean."""

import pytest

from demul_mm.retrieval.constraints import (
    Ordinal,
    Relation,
    TimeWindow,
    from_json,
    occurrence,
    parse_constraints,
    passes,
    to_json,
)

SHOWN = {None: ('a', 10.0, 12.0), 1: ('a', 10.0, 12.0), 3: ('c', 5.0, 6.0)}
FOREVER = float('inf')


def parse(text: str) -> list:
    return parse_constraints(text, lambda number: SHOWN[number])


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('later than 0:40', [TimeWindow(40)]),
        ('After 90 seconds', [TimeWindow(90)]),
        ('after 1.5 min', [TimeWindow(90)]),
        ('no, later than 1:02:03', [TimeWindow(3723)]),
        ('before 1:20', [TimeWindow(0, 80)]),
        ('earlier than 12.5 s', [TimeWindow(0, 12.5)]),
        ('between 10 and 20 s', [TimeWindow(10, 20)]),
        ('between 1 and 2 minutes', [TimeWindow(60, 120)]),
        ('between 0:10 and 0:20', [TimeWindow(10, 20)]),
        ('after that one', [Relation('after', *SHOWN[None])]),
        ('later than that', [Relation('after', *SHOWN[None])]),
        ('after this', [Relation('after', *SHOWN[None])]),
        ('before it', [Relation('before', *SHOWN[None])]),
        ('before', [Relation('before', *SHOWN[None])]),
        ('no, later', [Relation('after', *SHOWN[None])]),
        ('before #3', [Relation('before', *SHOWN[3])]),
        ('after number 3', [Relation('after', *SHOWN[3])]),
        ('the second time', [Ordinal(2)]),
        ('the 3rd one', [Ordinal(3)]),
        ('I mean the last one', [Ordinal(-1)]),
        ('the second to last time', [Ordinal(-2)]),
        ('the first', [Ordinal(1)]),
        ('the second time, but later than 0:40', [TimeWindow(40), Ordinal(2)]),
        ('after 10 s and before 0:30', [TimeWindow(10), TimeWindow(0, 30)]),
        ('the last one before 1:00', [TimeWindow(0, 60), Ordinal(-1)]),
        ('no later than 0:30', [TimeWindow(0, 30)]),
        ('not later than 30 s', [TimeWindow(0, 30)]),
        ('not after 30', [TimeWindow(0, 30)]),
        ('it is no earlier than 30', [TimeWindow(30)]),
        ('not earlier than 0:30', [TimeWindow(30)]),
        ('no sooner than 0:30', [TimeWindow(30)]),
        ('not before 30', [TimeWindow(30)]),
        ('not until 0:30', [TimeWindow(30)]),
        ('no, no later than 0:30', [TimeWindow(0, 30)]),
        ('not before 10 and no later than 20', [TimeWindow(10), TimeWindow(0, 20)]),
        ('no, not after 20, the second time', [TimeWindow(0, 20), Ordinal(2)]),
        ('the second time, later', [Ordinal(2), Relation('after', *SHOWN[None])]),
    ],
)
def test_words(text: str, expected: list) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    'text',
    [
        '',
        'a red disc',
        'the second banana',
        'after lunch',
        'the',
        'no',
        'no later than that one',
        'not after #3',
        'not later',
        'no later',
        'no after 20',
        'not between 10 and 20',
        'the first one, no, the second',
        'after the first one',
        'before the last one',
        'one second later',
    ],
)
def test_what_is_not_understood_is_said(text: str) -> None:
    with pytest.raises(ValueError, match='not understood'):
        parse(text)


def test_an_empty_window_is_refused() -> None:
    with pytest.raises(ValueError, match='there is nothing'):
        parse('between 20 and 10 s')


def test_windows_and_relations_keep_what_lies_inside() -> None:
    window = TimeWindow(10, 20)
    assert passes(window, 'a', 10, 20)
    assert not passes(window, 'a', 9.9, 15)
    assert not passes(window, 'a', 15, 20.1)
    after, before = Relation('after', 'a', 10, 12), Relation('before', 'a', 10, 12)
    assert passes(after, 'a', 12, 14)
    assert passes(after, 'a', 11.9, 13.9)  # a tenth of its length
    assert not passes(after, 'a', 11, 13)
    assert not passes(after, 'b', 12, 14)
    assert passes(before, 'a', 8, 10)
    assert passes(before, 'a', 8.1, 10.1)
    assert not passes(before, 'a', 9, 11)
    assert not passes(before, 'a', 8.3, 10.3)


# Start, end, strength; 1-3 and 2-4 are one occurrence.
MOMENTS = [(20, 22, 0.8), (1, 3, 0.9), (2, 4, 0.85), (10, 12, 0.95), (30, 32, 0.2)]


@pytest.mark.parametrize(
    ('number', 'tolerance', 'expected'),
    [
        (1, 0.3, (1, 3, 0.9)),
        (2, 0.3, (10, 12, 0.95)),
        (3, 0.3, (20, 22, 0.8)),
        (-1, 0.3, (20, 22, 0.8)),
        (-2, 0.3, (10, 12, 0.95)),
        (4, 0.3, None),
        (4, 1.0, (30, 32, 0.2)),
        (1, 0.0, (10, 12, 0.95)),
        (2, 0.0, None),
    ],
)
def test_occurrences_are_counted_in_time(number: int, tolerance: float, expected: object) -> None:
    found = occurrence(MOMENTS, lambda m: m[:2], lambda m: m[2], number, tolerance)
    assert found == expected


def test_moments_side_by_side_are_two_occurrences() -> None:
    moments = [(0, 5, 0.9), (5, 10, 0.8)]
    assert occurrence(moments, lambda m: m[:2], lambda m: m[2], 2, 1.0) == moments[1]


def test_json_and_back() -> None:
    for one in (TimeWindow(3), TimeWindow(3, 5), Relation('after', 'a', 1.5, 2), Ordinal(-1)):
        values = to_json(one)
        assert FOREVER not in values.values()
        assert from_json(values) == one
