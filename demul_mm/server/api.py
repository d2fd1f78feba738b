"""REST, described by ``/openapi.json``, and the page that uses it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

from demul_mm.app.asking import Span
from demul_mm.app.export import FORMS
from demul_mm.server.guard import Guard
from demul_mm.server.service import Service
from demul_mm.version import __version__
from demul_mm.zero_shot.scorers import DEFAULT_SCORER, SCORERS

PAGE = Path(__file__).parent / 'page'
# A video's id stands for its file as it is: what is made from it never changes.
FOR_EVER = {'Cache-Control': 'private, max-age=31536000, immutable'}

Sentence = Annotated[str, Field(min_length=1, max_length=1000)]
Number = Annotated[int, Field(ge=1, le=200)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
VideoId = Annotated[str, InPath(max_length=64, description='As a search gives it.')]


class Moment(BaseModel):
    """A part of a video, in seconds from its first frame."""

    video: str = Field(max_length=64, description='The id of the video.')
    start: Seconds
    end: Seconds

    def span(self) -> Span:
        """As a library takes it."""
        return self.video, self.start, self.end


class Answer(Moment):
    """A moment that was found."""

    rank: int
    name: str
    path: str
    duration: float | None
    score: float
    probability: float | None
    terms: dict[str, float]
    why: list[str]


class Answers(BaseModel):
    """Moments, best first, in the form that ``demul export`` reads once ``video`` is a path."""

    query: str
    moments: list[Answer]

    @classmethod
    def of(cls, query: str, moments: Sequence[Mapping[str, Any]]) -> 'Answers':
        """Of what :meth:`Service.describe` says."""
        return cls(query=query, moments=[Answer(**moment) for moment in moments])


class SearchRequest(BaseModel):
    """A sentence, and what was said of moments that were found before."""

    query: Sentence
    number: Number = 20
    kinds: list[Literal['picture', 'text']] = Field(['picture', 'text'], min_length=1)
    liked: list[Moment] = Field([], max_length=200)
    disliked: list[Moment] = Field([], max_length=200)


class AskRequest(BaseModel):
    """A sentence for one video."""

    query: Sentence
    number: Number = 5
    scorer: str = Field(DEFAULT_SCORER, description=f'One of {", ".join(SCORERS)}.')


class ExportedMoment(Moment):
    """A moment of a selection."""

    score: float | None = None
    probability: float | None = None
    why: list[str] = []


class ExportRequest(BaseModel):
    """A selection and the form in which editors want it."""

    query: Sentence
    moments: list[ExportedMoment] = Field(min_length=1, max_length=1000)
    form: str = Field(description=f'One of {", ".join(FORMS)}.')
    padding: Seconds = 0.0


class UpdateRequest(BaseModel):
    """Folders to add, below those that are allowed; none: look again at all."""

    folders: list[Annotated[str, Field(min_length=1, max_length=4096)]] = Field([], max_length=20)


class Word(BaseModel):
    """How much of a moment's score is due to a word; all shares add up to 1."""

    word: str
    share: float


class Curve(BaseModel):
    """How well equal parts of a video fit a sentence."""

    duration: float
    scores: list[float]


def create_app(service: Service, host: str = '127.0.0.1', token: str | None = None) -> FastAPI:
    """The page at ``/`` and REST below ``/api``.

    Args:
        host: that the server is bound to.
        token: that is asked for, see :class:`~demul_mm.server.guard.Guard`.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    # The documentation pages of FastAPI run scripts from elsewhere.
    app = FastAPI(
        title='demul', version=__version__, docs_url=None, redoc_url=None, lifespan=lifespan
    )
    app.include_router(_library(service))
    app.include_router(_videos(service))
    app.mount('/page', StaticFiles(directory=PAGE), name='page')
    app.add_api_route('/', lambda: FileResponse(PAGE / 'index.html'), include_in_schema=False)
    for kind, status in ((FileNotFoundError, 404), (PermissionError, 403), (ValueError, 400)):
        app.add_exception_handler(kind, _answer_with(status))
    app.add_middleware(Guard, host=host, token=token)
    return app


def _answer_with(status: int) -> Any:
    def answer(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse(dict(detail=str(error)), status)

    return answer


def _library(service: Service) -> APIRouter:
    routes = APIRouter(prefix='/api', tags=['library'])

    @routes.get('/library')
    def library() -> dict[str, Any]:
        """What the library holds, and what can be asked for."""
        allowed = [str(folder) for folder in service.updates.allowed]
        lists = dict(allowed=allowed, forms=list(FORMS), scorers=list(SCORERS))
        return dict(service.library.facts(), **lists)

    @routes.post('/search')
    def search(request: SearchRequest) -> Answers:
        """The best moments of all videos."""
        hits = service.library.search(
            request.query,
            request.number,
            request.kinds,
            [moment.span() for moment in request.liked],
            [moment.span() for moment in request.disliked],
        )
        return Answers.of(request.query, service.describe(hits))

    @routes.post('/export')
    def export(request: ExportRequest) -> Response:
        """A selection as a file for editors."""
        moments = [moment.model_dump() for moment in request.moments]
        text = service.export(request.query, moments, request.form, request.padding)
        name = f'attachment; filename="moments.{request.form}"'
        headers = {'Content-Disposition': name}
        return Response(text, media_type='text/plain; charset=utf-8', headers=headers)

    @routes.get('/update')
    def progress() -> dict[str, Any]:
        """How far the update of the library is."""
        return service.updates.state()

    @routes.post('/update', status_code=202)
    def update(request: UpdateRequest) -> dict[str, Any]:
        """Add folders, or look again at those that were added."""
        service.updates.start(request.folders)
        return service.updates.state()

    @routes.delete('/update')
    def stop() -> dict[str, Any]:
        """Stop the update; what is encoded is kept."""
        service.updates.stop()
        return service.updates.state()

    return routes


def _videos(service: Service) -> APIRouter:
    routes = APIRouter(prefix='/api/videos/{video}', tags=['videos'])

    @routes.post('/ask')
    def ask(video: VideoId, request: AskRequest) -> Answers:
        """The best moments of one video."""
        hits = service.ask(video, request.query, request.number, request.scorer)
        return Answers.of(request.query, service.describe(hits))

    @routes.get('/curve')
    def curve(video: VideoId, query: Annotated[Sentence, Query()]) -> Curve:
        """How well each part of a video fits a sentence."""
        return Curve(**service.curve(video, query))

    @routes.get('/words')
    def words(
        video: VideoId, query: Annotated[Sentence, Query()], start: Seconds, end: Seconds
    ) -> list[Word]:
        """How much each word has to do with a moment's being found by its pictures."""
        return [Word(**one) for one in service.words(video, query, start, end)]

    @routes.get('/file', response_class=FileResponse)
    def file(video: VideoId) -> FileResponse:
        """The video, or the range of it that is asked for."""
        headers = {'Cache-Control': 'private, no-cache'}
        return FileResponse(service.video(video).path, headers=headers)

    @routes.get('/sheet', response_class=Response, responses={200: {'content': {'image/jpeg': {}}}})
    def sheet(
        video: VideoId,
        start: Seconds,
        end: Seconds,
        count: Annotated[int, Query(ge=1, le=24)] = 1,
        height: Annotated[int, Query(ge=32, le=480)] = 90,
    ) -> Response:
        """Pictures of a part of a video side by side, as a JPEG."""
        content = service.sheet(video, start, end, count, height)
        return Response(content, media_type='image/jpeg', headers=FOR_EVER)

    @routes.get('/cut', response_class=FileResponse)
    def cut(video: VideoId, start: Seconds, end: Seconds, fast: bool = False) -> FileResponse:
        """A moment as a file of its own: exactly, or fast from the key frame before."""
        path, name = service.cut(video, start, end, fast)
        return FileResponse(path, filename=name, media_type='video/mp4', headers=FOR_EVER)

    return routes
