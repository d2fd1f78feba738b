"""Options arrive as they were typed."""

from typing import Any

import pytest
from mmengine.config import DictAction

from demul_mm.cli import add_config_options, tool_parser


def read(*words: str) -> dict[str, Any]:
    parser = tool_parser('What it does.\n\nExamples:\n    none')
    add_config_options(parser)
    return parser.parse_args(['--cfg-options', *words]).cfg_options


@pytest.mark.parametrize(
    'text',
    [
        '1', '-2', '1e-3', 'inf', 'true', 'False', 'None', 'none', '', 'a', 'a=b', '[a,b]', 'a,b',
        'a,', '1,2.5,None', '[]', '()', '(0,5)', '(0,)', '[[1,2],(3,4)]', '[(1,2),[a,b],c]',
        "['a','b']", '[ 1, 2 ]', "'[a,b]'", '"(0,5)"', '[x]/', '1, 2',
    ],
)  # fmt: skip
def test_values_are_read_as_mmengine_reads_them(text: str) -> None:
    found, expected = read(f'key={text}')['key'], DictAction._parse_iterable(text)
    assert found == expected
    assert isinstance(found, type(expected))


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        ('/my data/x/', '/my data/x/'),
        ('"/my data/x/"', '/my data/x/'),
        ('"/a,b/"', '/a,b/'),
        ("'/a, b (c/'", '/a, b (c/'),
        ('"5"', '5'),
        ('[/my data/x, /b c]', ['/my data/x', '/b c']),
        ('a red disc, 5', ['a red disc', 5]),
        ("dict(type='A', b=1)", "dict(type='A', b=1)"),
        ('f(a,b),[c,d]', ['f(a,b)', ['c', 'd']]),
        ('/a (b/', '/a (b/'),
    ],
)
def test_spaces_stay_and_quotes_make_a_text(text: str, expected: object) -> None:
    assert read(f'key={text}') == {'key': expected}


@pytest.mark.parametrize('word', ['no_value', 'key=[a,b', 'key=a),b'])
def test_what_cannot_be_read_is_one_line(word: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as stop:
        read(word)
    assert stop.value.code == 2
    assert 'error: argument --cfg-options: ' in capsys.readouterr().err
