"""Models from huggingface.co; what is downloaded is logged first."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.logging import MMLogger

from demul_mm.zero_shot.encoders import RECOMMENDED

# What a model is loaded from; other files of its repository are not downloaded.
PATTERNS = ('*.json', '*.txt', '*.model', 'model*.safetensors', 'extractor.safetensors')


def fetch(
    name: str,
    offline: bool = False,
    revision: str | None = None,
    patterns: Sequence[str] = PATTERNS,
) -> str:
    """The folder of a model, downloaded if it is not at hand and that is allowed.

    What is downloaded, how large it is, from where and under which licence is logged before.

    Args:
        revision: branch, tag or commit on huggingface.co; None: its main branch.
        patterns: names of the files that are wanted.

    Raises:
        FileNotFoundError: it is not at hand and cannot be downloaded.
        ValueError: a revision of a folder.
    """
    if Path(name).is_dir():
        if revision is not None:
            raise ValueError(f'{name} is a folder, which has no revision {revision!r}')
        return name
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    wanted: dict[str, Any] = dict(revision=revision, allow_patterns=list(patterns))
    try:
        return snapshot_download(name, local_files_only=True, **wanted)
    except (LocalEntryNotFoundError, OSError, ValueError):
        if offline or name.count('/') != 1:
            raise FileNotFoundError(
                f'{name} is neither a folder nor a model that was downloaded before'
                + ('; leave --offline out to download it' if offline else '; names are OWNER/MODEL')
            ) from None
    # A connection that fails is no OSError in every HTTP client: the bases have that client's own.
    failures: tuple[type[BaseException], ...] = (OSError, ValueError, *HfHubHTTPError.__bases__)
    try:
        hub = HfApi()
        info = hub.model_info(name, revision=revision, files_metadata=True)
        MMLogger.get_current_instance().info(download_notice(info, patterns, hub.endpoint))
        return snapshot_download(name, **wanted)
    except failures as error:
        raise FileNotFoundError(
            f'{name} cannot be downloaded ({error}); give the folder of a model instead'
        ) from error


@contextmanager
def loading(name: str, kind: str) -> Iterator[None]:
    """What transformers raises of a model that it cannot load names the model.

    Args:
        name: folder, or name on huggingface.co.
        kind: what it should be.

    Raises:
        ValueError: it cannot be loaded, and why: it is none, or damaged, or the memory is full.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        why = str(error).strip().split('\n')[0] or type(error).__name__
        raise ValueError(f'{name} cannot be loaded as {kind} ({why})') from error


def download_notice(
    info: Any, patterns: Sequence[str] = PATTERNS, hub: str = 'https://huggingface.co'
) -> str:
    """What is about to be downloaded.

    Args:
        info: what is known of the repository, with the sizes of its files (``HfApi().model_info``).
        patterns: names of the files that are wanted.
        hub: address of what the model is downloaded from (``HF_ENDPOINT`` may name another).
    """
    from huggingface_hub.utils import filter_repo_objects

    wanted = filter_repo_objects(
        info.siblings, allow_patterns=list(patterns), key=lambda f: f.rfilename
    )
    size = sum(file.size or 0 for file in wanted)
    licence = (info.card_data or {}).get('license')
    known = {one.name: one.licence for one in RECOMMENDED}
    return (
        f'downloading {info.id} from {hub}/{info.id}: {size / 1e6:,.0f} MB, '
        f'licence: {licence or known.get(info.id, "not stated, see its page")}'
    )
