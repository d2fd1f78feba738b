"""As much of huggingface.co as downloads of models need, on this machine."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = '0123456789abcdef' + 24 * '0'


class Hub(ThreadingHTTPServer):
    """Serves folders as models.

    Args:
        models: folders by name, OWNER/MODEL.

    Attributes:
        asked: all requests, as ``GET /path``.
        address: what ``HF_ENDPOINT`` is to be.
    """

    def __init__(self, models: Mapping[str, Path]) -> None:
        self.models, self.asked = models, list[str]()
        super().__init__(('127.0.0.1', 0), _Answer)
        self.address = f'http://127.0.0.1:{self.server_port}'


class _Answer(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = 'HTTP/1.1'

    def do_GET(self) -> None:
        path = self.path.partition('?')[0]
        self.server.asked.append(f'{self.command} {path}')
        parts = path.removeprefix('/api/models').strip('/').split('/')
        name, rest = '/'.join(parts[:2]), parts[2:]
        folder = self.server.models.get(name)
        if folder is None:
            self._send(404, b'{}', {'X-Error-Code': 'RepoNotFound'})
        elif rest[:1] == ['resolve']:
            self._file(folder / '/'.join(rest[2:]))
        else:
            files = sorted(path for path in folder.rglob('*') if path.is_file())
            self._about(name, folder, files, tree=rest[:1] == ['tree'])

    do_HEAD = do_GET

    def _about(self, name: str, folder: Path, files: list[Path], tree: bool) -> None:
        sizes = [(path.relative_to(folder).as_posix(), path.stat().st_size) for path in files]
        content: object = dict(
            id=name,
            sha=COMMIT,
            cardData=dict(license='cc0-1.0'),
            siblings=[dict(rfilename=path, size=size) for path, size in sizes],
        )
        if tree:
            content = [dict(type='file', path=p, size=s, oid=f'{s:040x}') for p, s in sizes]
        self._send(200, json.dumps(content).encode(), {'Content-Type': 'application/json'})

    def _file(self, path: Path) -> None:
        if not path.is_file():
            self._send(404, b'', {'X-Error-Code': 'EntryNotFound'})
            return
        content = path.read_bytes()
        etag = f'"{hashlib.sha256(content).hexdigest()}"'
        self._send(200, content, {'ETag': etag, 'X-Repo-Commit': COMMIT})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, 'Content-Length': str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == 'GET':
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def hub(models: Mapping[str, Path]) -> Iterator[Hub]:
    """One that answers until it is left."""
    with Hub(models) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
