"""A language model's client gets what the library gives, and is told its mistakes."""

from pathlib import Path
from typing import Any

import anyio
import av
import pytest
from mcp.client import Client

from demul_mm.server.mcp_tools import create_mcp
from demul_mm.server.service import Service
from tests.app.films import ColourEncoder, write_film
from tests.server.homes import make_home, open_service


@pytest.fixture(scope='module')
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    return open_service(make_home(tmp_path_factory.mktemp('home')))


def call(service: Service, clips: Path, tool: str, **arguments: Any) -> Any:
    """What a client in a session of its own receives."""

    async def session() -> Any:
        async with Client(create_mcp(service, clips)) as client:
            return await client.call_tool(tool, arguments)

    return anyio.run(session)


def test_there_are_three_tools(service: Service, tmp_path: Path) -> None:
    async def session() -> Any:
        async with Client(create_mcp(service, tmp_path)) as client:
            return await client.list_tools()

    tools = anyio.run(session).tools
    assert {tool.name for tool in tools} == {'search', 'ask', 'cut'}
    assert all(tool.description for tool in tools)


def test_search_ask_and_cut(service: Service, tmp_path: Path) -> None:
    found = call(service, tmp_path, 'search', sentence='red', number=3)
    moments = found.structured_content['result']
    hits = service.library.search('red', 3)
    assert [moment['video'] for moment in moments] == [hit.key for hit in hits]
    best = moments[0]
    said = call(service, tmp_path, 'search', sentence='red', only='text')
    assert [one['name'] for one in said.structured_content['result']] == ['one.mp4']
    own = call(service, tmp_path, 'ask', video=best['video'], sentence='red')
    assert {one['video'] for one in own.structured_content['result']} == {best['video']}
    cut = call(service, tmp_path / 'clips', 'cut', video=best['video'], start=3.5, end=5)
    file = Path(cut.structured_content['file'])
    assert file.parent == tmp_path / 'clips'
    with av.open(str(file)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 12


def test_every_cut_is_a_file_of_its_own(tmp_path: Path) -> None:
    home = tmp_path / 'home'
    for folder, colour in (('a', 'red'), ('b', 'blue')):
        write_film(home / 'films' / folder / 'clip.mp4', [colour, 'black'])
    service = Service(home / 'library', ColourEncoder, allowed=[home])
    service.library.update([home / 'films'])
    keys = [row.key for row in service.library.catalogue.videos()]
    assert len(keys) == 2
    asked = [dict(video=key, start=1, end=2, fast=fast) for key in keys for fast in (False, True)]
    files = [
        Path(call(service, tmp_path, 'cut', **one).structured_content['file']) for one in asked
    ]
    assert len({file.read_bytes() for file in files}) == 4
    assert call(service, tmp_path, 'cut', **asked[0]).structured_content['file'] == str(files[0])


@pytest.mark.parametrize('stem', ['焚' * 83, 'a' + '焚' * 83, 'x' * 251])
def test_a_video_may_have_the_longest_name(tmp_path: Path, stem: str) -> None:
    """Names have 255 bytes at most, that of a cut, too; whole characters of it are kept."""
    home = tmp_path / 'home'
    write_film(home / 'film.mp4', ['red', 'black']).rename(home / f'{stem}.mp4')
    service = Service(home / 'library', ColourEncoder, allowed=[home])
    service.library.update([home])
    (row,) = service.library.catalogue.videos()
    asked = dict(video=row.key, start=1, end=2, fast=True)
    answer = call(service, tmp_path / 'clips', 'cut', **asked)
    assert not answer.is_error, answer.content
    file = Path(answer.structured_content['file'])
    kept, _, times = file.name.removeprefix(f'{row.key}_fast_').partition('_')
    assert (times, stem.startswith(kept), len(kept) > 60) == ('1.00-2.00.mp4', True, True)
    path, name = service.cut(row.key, 1, 2, fast=True)
    assert file.read_bytes() == path.read_bytes()
    assert file.name.endswith(name)
    assert len(name.encode()) <= 255


@pytest.mark.parametrize(
    ('tool', 'arguments', 'told'),
    [
        ('search', dict(sentence=' '), 'is empty'),
        ('ask', dict(video='../secret', sentence='red'), 'there is no video'),
        ('search', dict(sentence='red', number=0), 'number is 0; it must be at least 1'),
        ('search', dict(sentence='red', number=-3), 'number is -3'),
        ('ask', dict(sentence='red', number=0), 'number is 0'),
        ('cut', dict(video='/etc/passwd', start=0, end=1), 'there is no video'),
    ],
)
def test_mistakes_are_told(service: Service, tmp_path: Path, tool, arguments, told) -> None:
    if tool == 'ask' and 'video' not in arguments:
        arguments = dict(arguments, video=service.library.search('red', 1)[0].key)
    answer = call(service, tmp_path, tool, **arguments)
    assert answer.is_error
    assert told in answer.content[0].text
    assert not list(tmp_path.iterdir())
