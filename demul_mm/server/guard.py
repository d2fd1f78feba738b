"""Access to the server: by its own page, and by programs that have the token."""

import hmac
import ipaddress
import socket

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = 'demul_token'
# Of a request's body, in bytes.
LARGEST_BODY = 1_000_000
HEADERS = {
    'Content-Security-Policy': "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; media-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'",
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cross-Origin-Resource-Policy': 'same-origin',
    'Cross-Origin-Opener-Policy': 'same-origin',
}


class Guard:
    """Refuses what does not come from the server's own page or from a program with the token.

    A browser sends ``Host``, ``Origin`` and ``Sec-Fetch-Site`` as they are; no page can change
    them. The first tells a name that was made to point here (DNS rebinding), the others a page of
    another origin.

    Args:
        app: what is guarded.
        host: that the server is bound to.
        token: that every request must bring, as a bearer or, after ``/?token=``, as a cookie.
    """

    def __init__(self, app: ASGIApp, host: str, token: str | None) -> None:
        self.app, self.token = app, token
        self.names = {'localhost', host.lower(), socket.gethostname().lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope['type'] != 'http':
            await self.app(scope, receive, send)
            return
        answer = self._refusal(Request(scope))
        if answer is not None:
            await answer(scope, receive, _with_headers(send))
            return
        await self.app(scope, _limited(receive), _with_headers(send))

    def _refusal(self, request: Request) -> Response | None:
        headers = request.headers
        host = headers.get('host', '')
        if not self._is_ours(host):
            return _refuse(421, f'this server is not {host!r}; ask it by its address')
        origin = headers.get('origin')
        foreign = origin is not None and origin.partition('://')[2] != host
        enters = request.method == 'GET' and request.url.path == '/' and origin is None
        if foreign or (
            headers.get('sec-fetch-site', 'none') not in ('none', 'same-origin') and not enters
        ):
            return _refuse(403, 'another page may not ask this server')
        return self._ask_for_token(request)

    def _is_ours(self, host: str) -> bool:
        name = host.rsplit(':', 1)[0] if host.rpartition(':')[2].isdigit() else host
        try:
            ipaddress.ip_address(name.strip('[]'))
        except ValueError:
            return name.lower() in self.names
        return True  # rebinding needs a name

    def _ask_for_token(self, request: Request) -> Response | None:
        if self.token is None:
            return None
        given = request.query_params.get('token')
        if request.url.path == '/' and given is not None and self._is_token(given):
            answer = RedirectResponse('/', 303)
            answer.set_cookie(COOKIE, given, httponly=True, samesite='lax', max_age=30 * 86400)
            return answer
        scheme, _, bearer = request.headers.get('authorization', '').partition(' ')
        if scheme.lower() == 'bearer' and self._is_token(bearer):
            return None
        if self._is_token(request.cookies.get(COOKIE, '')):
            return None
        return _refuse(401, 'the token is missing or wrong; open /?token=TOKEN, as was printed')

    def _is_token(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), (self.token or '').encode())


def _limited(receive: Receive) -> Receive:
    """Counts what is received: a request need not say how long it is."""
    size = 0

    async def receiving() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get('body', b''))
        if size > LARGEST_BODY:
            raise HTTPException(413, f'more than {LARGEST_BODY} bytes were sent')
        return message

    return receiving


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message['type'] == 'http.response.start':
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault('Cache-Control', 'no-store')
        await send(message)

    return sending


def _refuse(status: int, detail: str) -> Response:
    return PlainTextResponse(detail + '\n', status)
