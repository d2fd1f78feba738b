"""A small split in batches, as a data loader gives them."""

from collections.abc import Iterator

from demul_mm.models.localizers import DeMUL
from tests.models.tiny import only, tiny_data, tiny_model, train_steps


def split() -> Iterator[dict]:
    """Three videos in two batches."""
    data = tiny_data((13, 8, 20), (2, 1, 2))
    for sample in data['data_samples']:
        ids = [f'{sample.video_id}#{q}' for q in range(len(sample.queries))]
        sample.set_metainfo(dict(query_ids=ids, sample_idx=0))
    yield only(data, 0, 1)
    yield only(data, 2)


def trained_model() -> DeMUL:
    """A model with every gate open."""
    model = tiny_model()
    train_steps(model, tiny_data(), 10)
    return model
