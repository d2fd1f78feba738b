"""The last step of a pipeline."""

from collections.abc import Sequence

import numpy as np
import torch

from demul_mm.datasets.transforms.step import Step
from demul_mm.registry import TRANSFORMS
from demul_mm.structures import MomentDataSample, as_names


@TRANSFORMS.register_module()
class PackMomentInputs(Step):
    """Make what the model takes: ``dict(inputs={stream: Tensor}, data_samples=...)``.

    Required keys: ``streams`` (None where the video lacks one), ``video_id``, ``duration``,
    ``extent``, ``queries``, ``query_ids``, ``gt_spans``. Optional: ``hard_queries``.

    Args:
        meta_keys: what goes into the meta information of the data sample, besides ``query_ids``;
            keys that the results lack are left out.
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = (
            'video_id',
            'duration',
            'extent',
            'sample_idx',
            'video_path',
            'simulated',
            'meta',
        ),
    ) -> None:
        self.meta_keys = tuple(as_names(meta_keys, 'meta_keys'))

    def transform(self, results: dict) -> dict:
        sample = MomentDataSample()
        sample.set_metainfo({key: results[key] for key in self.meta_keys if key in results})
        sample.set_metainfo({'query_ids': list(results['query_ids'])})
        sample.queries = results['queries']
        sample.gt_spans = results['gt_spans']
        if 'hard_queries' in results:
            sample.hard_queries = results['hard_queries']
        if all(rows is None for rows in results['streams'].values()):
            raise ValueError(
                f'video {results.get("video_id")!r} has no stream at all (of '
                f'{sorted(results["streams"])}): leave it out, or load one that it has'
            )
        inputs = {
            name: None if rows is None else torch.from_numpy(np.ascontiguousarray(rows))
            for name, rows in results['streams'].items()
        }
        return {'inputs': inputs, 'data_samples': sample}
