"""Videos encoded one by one, kept, and put together again for fusion."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from demul_mm.models.localizers import DeMUL
from demul_mm.models.task_modules.points import padded_length
from demul_mm.structures import MomentDataSample, VideoEncoding

# Of these the files keep half precision; it moves a probability by about a thousandth.
HALVED = ('points', 'shared')
# Which axis counts the pyramid's cells, for the fields that have one.
CELL_AXIS = dict(points=2, private=2, shared=1, spans=1, mask=1)


class EncodedVideo(NamedTuple):
    """One video as the model keeps it.

    ``encoding`` has one row, is cut to the video's own length, lies on the CPU, and has no private
    part (width 0): fusion reads features, shared vectors, words and masks alone.
    """

    video_id: str
    duration: float  # seconds
    extent: float  # seconds that the clip axis covers
    encoding: VideoEncoding
    meta: Mapping[str, Any]

    @property
    def num_cells(self) -> int:
        """Cells of all levels, those past the video's end included."""
        return self.encoding.mask.shape[1]


def to_file(encoding: VideoEncoding) -> dict[str, Tensor]:
    """What a file keeps of an encoding."""
    return {k: v.half() if k in HALVED else v for k, v in encoding._asdict().items()}


def from_file(tensors: Mapping[str, Tensor]) -> VideoEncoding:
    """The encoding that a file keeps, which may hold more beside it."""
    return VideoEncoding(
        **{k: tensors[k].float() if k in HALVED else tensors[k] for k in VideoEncoding._fields}
    )


def cell_indices(length: int, total: int, num_levels: int) -> Tensor:
    """Where the cells of ``length`` padded clips lie among those of ``total`` padded clips.

    Args:
        length: a multiple of ``2 ** (num_levels - 1)``, at most ``total``.

    Returns:
        ``(M,)`` int64, level by level.
    """
    starts = [sum(total >> k for k in range(level)) for level in range(num_levels)]
    return torch.cat([start + torch.arange(length >> k) for k, start in enumerate(starts)])


def split_encoding(encoding: VideoEncoding, num_levels: int) -> list[VideoEncoding]:
    """The videos of a batch, one by one, as :class:`EncodedVideo` keeps them."""
    divisor = 2 ** (num_levels - 1)
    total = padded_length(encoding.mask.shape[1], num_levels)
    lean = encoding._replace(private=encoding.private[..., :0])
    fields = {name: field.detach().cpu() for name, field in lean._asdict().items()}
    videos = []
    for row, clips in enumerate(encoding.num_clips.tolist()):
        length = max(1, -(-clips // divisor)) * divisor
        cells = cell_indices(length, total, num_levels)
        one = {name: field[row : row + 1] for name, field in fields.items()}
        for name, axis in CELL_AXIS.items():
            one[name] = one[name].index_select(axis, cells)
        one['said'] = one['said'][:, :length]
        # Clones: a view would keep the whole batch alive.
        videos.append(VideoEncoding(**{name: field.clone() for name, field in one.items()}))
    return videos


def stack_encodings(encodings: Sequence[VideoEncoding], num_levels: int) -> VideoEncoding:
    """One batch of videos that were split before; shorter ones are padded."""
    most = max(encoding.mask.shape[1] for encoding in encodings)
    total = padded_length(most, num_levels)
    columns: dict[str, list[Tensor]] = {name: [] for name in VideoEncoding._fields}
    for encoding in encodings:
        cells = None
        if encoding.mask.shape[1] < most:
            length = padded_length(encoding.mask.shape[1], num_levels)
            cells = cell_indices(length, total, num_levels)
        for name, field in encoding._asdict().items():
            if cells is not None and name in CELL_AXIS:
                axis = CELL_AXIS[name]
                shape = (*field.shape[:axis], most, *field.shape[axis + 1 :])
                field = field.new_zeros(shape).index_copy_(axis, cells, field)
            if name == 'said':
                field = F.pad(field, (0, 0, 0, total - field.shape[1]))
            columns[name].append(field)
    return VideoEncoding(**{name: torch.cat(fields) for name, fields in columns.items()})


@torch.no_grad()
def encode_batch(model: DeMUL, batch: dict) -> list[EncodedVideo]:
    """Encode a collated batch, ``dict(inputs=..., data_samples=...)``, as of a data loader."""
    data = model.data_preprocessor(batch, False)
    samples: list[MomentDataSample] = data['data_samples']
    rows = split_encoding(model.encode_video(data['inputs']), model.points.num_levels)
    return [
        EncodedVideo(
            video_id=str(sample.video_id),
            duration=float(sample.duration),
            extent=float(sample.metainfo.get('extent', sample.duration)),
            encoding=row,
            meta=sample.metainfo.get('meta') or {},
        )
        for sample, row in zip(samples, rows)
    ]
