"""A contact sheet: key frames of some videos over the spans of their sentences."""

from pathlib import Path

import cv2
import numpy as np

from demul_mm.datasets import JsonlMomentDataset


def contact_sheet(
    folder: str | Path, out: str | Path, *, split: str = 'val', videos: int = 4
) -> None:
    """Draw the first videos of a rendered split, with each sentence over its span.

    Args:
        folder: A corpus written by ``render_corpus``.
        out: Picture to write (.png or .jpg).
        split: 'train', 'val' or 'test'.
    """
    from demul_mm.visualization.browsing import draw_item
    from demul_mm.visualization.charts import figure_image

    dataset = JsonlMomentDataset(f'{split}.jsonl', split, str(folder), data_prefix=dict(video=''))
    infos = [dataset.get_data_info(i) for i in range(min(videos, len(dataset)))]
    rows = [figure_image(draw_item(info, None, [], len(info['queries']))) for info in infos]
    if not cv2.imwrite(str(out), np.concatenate(rows)[..., ::-1]):
        raise ValueError(f'{out}: cannot write a picture; give a path that ends in .png or .jpg')
