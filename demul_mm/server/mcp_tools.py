"""A library for language models: search, ask and cut by the Model Context Protocol."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from demul_mm.app.rank_fusion import Hit
from demul_mm.server.service import Service
from demul_mm.version import __version__
from demul_mm.zero_shot.scorers import DEFAULT_SCORER

INSTRUCTIONS = (
    'Finds moments in the videos of one library by a sentence, by what is seen and what is said. '
    'Search first; the id of a video that it gives is what ask and cut take. Times are seconds.'
)


def create_mcp(service: Service, clips: Path) -> MCPServer:
    """A server of three tools.

    Args:
        clips: folder that cuts are written to, made if it is missing.
    """
    server = MCPServer('demul', version=__version__, instructions=INSTRUCTIONS)

    def answers(found: Callable[[], list[Hit]]) -> list[dict[str, Any]]:
        with user_errors():
            return service.describe(found())

    @server.tool()
    def search(
        sentence: str, number: int = 10, only: Literal['picture', 'text'] | None = None
    ) -> list[dict[str, Any]]:
        """Find the best moments of all videos for a sentence, by pictures, spoken text or both."""
        kinds = (only,) if only else ('picture', 'text')
        return answers(lambda: service.library.search(sentence, number, kinds))

    @server.tool()
    def ask(
        video: str, sentence: str, number: int = 5, scorer: str = DEFAULT_SCORER
    ) -> list[dict[str, Any]]:
        """Find the best moments of one video, given by its id."""
        return answers(lambda: service.ask(video, sentence, number, scorer))

    @server.tool()
    def cut(video: str, start: float, end: float, fast: bool = False) -> dict[str, Any]:
        """Write a moment to a file of its own and say where it is.

        Exact, or with fast from the key frame before, without encoding anew.
        """
        with user_errors():
            made, name = service.cut(video, start, end, fast)
            clips.mkdir(parents=True, exist_ok=True)
            # Videos of several folders may have one name, and fast and exact differ.
            own = clips / f'{video}_{"fast_" if fast else ""}{name}'
            return dict(file=os.path.abspath(shutil.copyfile(made, own)))

    return server


@contextmanager
def user_errors() -> Iterator[None]:
    """Errors of the caller become errors of the tool, with their message, not of the server."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise ToolError(str(error)) from error
