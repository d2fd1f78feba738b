"""Configs as the command line gives them: read, and changed by options."""

import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

# Where `projects` is, which configs import as custom_imports=dict(imports=['projects....']).
ROOT = str(Path(__file__).resolve().parents[2])
if ROOT not in sys.path:
    sys.path.append(ROOT)


def load_config(
    path: str, options: Mapping[str, Any] | None = None, work_dir: str | None = None
) -> Config:
    """Read a config, apply ``--cfg-options``, and settle where the run writes.

    Args:
        options: dotted keys and their values; see :func:`apply_options`.
        work_dir: where to write; otherwise the config's ``work_dir``, otherwise
            ``work_dirs/<name of the config>``, with the name of other ``features``.

    Raises:
        FileNotFoundError: there is no such config.
        ValueError: an option would change nothing.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f'there is no config file {path}{_similar_files(path)}')
    config = Config.fromfile(path)
    if options:
        from demul_mm.cli.options import apply_options

        apply_options(config, options)
    if work_dir is not None:
        config.work_dir = work_dir
    elif config.get('work_dir') is None:
        features = (options or {}).get('features')
        names = [path, features] if isinstance(features, str) else [path]
        config.work_dir = os.path.join('work_dirs', '_'.join(Path(name).stem for name in names))
    return config


def _similar_files(path: str) -> str:
    folder = Path(path).parent
    names = [file.name for file in folder.glob('*.py')] if folder.is_dir() else []
    near = difflib.get_close_matches(Path(path).name, names, n=3)
    return f'; in that folder are {", ".join(near)}' if near else ''
