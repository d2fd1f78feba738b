"""Where the shots of a video begin."""

import cv2
import numpy as np

# Pictures are compared at this height; more says nothing about cuts.
HEIGHT = 120


class ShotDetector:
    """Sees frames one after another and notes with which of them a shot begins (PySceneDetect).

    Args:
        threshold: mean change of hue, saturation and brightness, of 255, that begins a shot.

    Attributes:
        starts: numbers of the frames with which shots begin, from 0 on.
    """

    def __init__(self, threshold: float = 27.0) -> None:
        from scenedetect.detectors import ContentDetector

        self._detector = ContentDetector(threshold, min_scene_len=0)
        self._seen = 0
        self.starts = [0]

    def see(self, picture: np.ndarray) -> None:
        """The next frame: ``(H, W, 3)`` uint8 RGB."""
        from scenedetect import FrameTimecode

        width = max(1, round(picture.shape[1] * HEIGHT / picture.shape[0]))
        small = cv2.resize(picture, (width, HEIGHT), interpolation=cv2.INTER_AREA)
        bgr = cv2.cvtColor(small, cv2.COLOR_RGB2BGR)
        # Frames are counted: they are as far apart as the library has them.
        cuts = self._detector.process_frame(FrameTimecode(self._seen, fps=1.0), bgr)
        self.starts += [cut.frame_num for cut in cuts if cut.frame_num]
        self._seen += 1
