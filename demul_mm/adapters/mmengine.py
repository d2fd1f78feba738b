"""Spare mmengine what it does again and again."""

import functools
from typing import Any

from mmengine.config import config
from yapf.yapflib.yapf_api import FormatCode


def apply_mmengine_adapter() -> None:
    """Keep the text of a config once it is formatted: a Runner asks for it at every checkpoint.

    yapf needs half a second for a config of ours, as long as some epochs take.
    """
    if config.FormatCode is FormatCode:
        config.FormatCode = _format


def _format(text: str, style_config: dict[str, Any], **options: Any) -> tuple[str, bool]:
    return _formatted(text, tuple(style_config.items()), tuple(options.items()))


@functools.lru_cache(maxsize=16)
def _formatted(text: str, style: tuple, options: tuple) -> tuple[str, bool]:
    return FormatCode(text, style_config=dict(style), **dict(options))
