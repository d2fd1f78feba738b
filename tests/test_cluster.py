"""A Ray cluster makes what this process would, whatever becomes of its machines."""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from demul_mm.apis.extraction import DEFAULT_CLIPS, FolderWriter, extract
from demul_mm.apis.extractor import Backbone
from demul_mm.app.cluster import encode_on
from demul_mm.app.library import Library
from demul_mm.cluster import Cluster
from tests.app.films import ColourEncoder, write_film

ray = pytest.importorskip('ray', reason='needs ray: pip install "demul-mm[ray]"')
pytestmark = pytest.mark.slow
VIDEOS = 12


class SlowColours(ColourEncoder):
    """Long enough at a video that its machine can be lost meanwhile."""

    def encode_images(self, pictures: list[np.ndarray]) -> np.ndarray:
        time.sleep(0.2)
        return super().encode_images(pictures)


class SlowMeans(torch.nn.Module):
    """Clips by their mean colour, scaled by a weight."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        time.sleep(0.2)
        return clips.float().mean((2, 3, 4)) * self.scale


@pytest.fixture(scope='module')
def machines() -> Iterator[Any]:
    from ray.cluster_utils import Cluster as Machines

    alone = dict(include_dashboard=False, include_log_monitor=False, no_monitor=True)
    machines = Machines(initialize_head=True, head_node_args=dict(num_cpus=1, **alone))
    yield machines
    ray.shutdown()
    machines.shutdown()


@pytest.fixture
def lose_one(machines: Any) -> Callable[[], bool]:
    """Adds a machine, and loses it without warning when it is called; says whether it was there."""
    lost = machines.add_node(num_cpus=1, include_log_monitor=False)
    machines.wait_for_nodes(timeout=300)

    def lose() -> bool:
        there = lost in machines.list_all_nodes()
        if there:
            machines.remove_node(lost, allow_graceful=False)
        return there

    return lose


@pytest.fixture
def films(tmp_path: Path) -> Path:
    folder = tmp_path / 'films'
    for number in range(VIDEOS):
        write_film(folder / f'{number:02d}.mp4', ['red', 'green', 'blue'][: 1 + number % 3], 2)
    (folder / 'broken.mp4').write_bytes(b'no film')
    return folder


def contents(library: Library) -> dict[str, tuple[np.ndarray, float]]:
    return {
        Path(row.path).name: library.frames(row.key) for row in library.catalogue.videos('indexed')
    }


def test_a_lost_machine_costs_a_library_nothing_but_time(
    tmp_path: Path, films: Path, machines: Any, lose_one: Callable[[], bool]
) -> None:
    here = Library(tmp_path / 'here', ColourEncoder)
    here.update([films])
    cluster = partial(encode_on, Cluster(machines.address), SlowColours)
    library = Library(tmp_path / 'library', ColourEncoder)
    done = []

    def tell(path: str, share: float, number: int, total: int) -> None:
        done.append(path)
        if number == 3:
            assert lose_one()

    report = library.update([films], progress=tell, cluster=cluster)
    assert not lose_one()
    assert (report.added, report.forgotten) == (VIDEOS, 0)
    assert [Path(path).name for path, _ in report.broken] == ['broken.mp4']
    assert len(done) == len(set(done)) == VIDEOS
    assert library.search('red', 1)
    index = library._open_index()
    assert index is not None
    assert index.stats()['videos'] == VIDEOS
    found, expected = contents(library), contents(here)
    assert found.keys() == expected.keys()
    for name, (frames, duration) in expected.items():
        assert np.array_equal(found[name][0], frames)
        assert found[name][1] == duration
    assert library.update([films], cluster=cluster)[:3] == (0, VIDEOS + 1, 0)


def test_other_weights_on_a_machine_are_refused(tmp_path: Path, machines: Any) -> None:
    write_film(tmp_path / 'films/one.mp4', ['red'])
    cluster = partial(encode_on, Cluster(machines.address), lambda name: ColourEncoder(name, 'w2'))
    library = Library(tmp_path / 'library', ColourEncoder)
    with pytest.raises(RuntimeError, match='has other weights on this machine'):
        library.update([tmp_path / 'films'], cluster=cluster)
    assert not library.catalogue.videos()


def test_extraction_goes_on_where_it_was_stopped_and_without_a_lost_machine(
    tmp_path: Path, films: Path, machines: Any, lose_one: Callable[[], bool]
) -> None:
    backbone = Backbone(SlowMeans().eval(), DEFAULT_CLIPS, {}, 'cpu')
    videos = {file.stem: str(file) for file in sorted(films.iterdir())}
    run = partial(extract, videos, backbone, batch=4, workers=0)
    here = FolderWriter(tmp_path / 'here', 'npy', {})
    assert len(run(here)) == 1

    class Watched(FolderWriter):
        def add(self, video_id: str, features: np.ndarray) -> None:
            super().add(video_id, features)
            added.append(video_id)
            if len(added) == 3:
                raise KeyboardInterrupt
            if len(added) == 6:
                assert lose_one()

    added: list[str] = []
    there, cluster = Watched(tmp_path / 'there', 'npy', {}), Cluster(machines.address)
    with pytest.raises(KeyboardInterrupt):
        run(there, cluster=cluster)
    assert len(added) == 3
    (broken,) = run(there, cluster=cluster)
    assert broken.startswith('broken: ')
    assert sorted(added) == sorted(videos)[:-1]
    assert not lose_one()
    for video_id in added:
        name = f'{video_id}.npy'
        assert np.array_equal(np.load(tmp_path / 'there' / name), np.load(tmp_path / 'here' / name))


def test_a_video_that_kills_its_workers_is_left_out(machines: Any) -> None:
    def prepare() -> Callable[[str], int]:
        return lambda path: os._exit(1) if path == 'bad' else len(path)

    done = {path: made for path, *made in Cluster(machines.address).run(prepare, ['a', 'bad', 'b'])}
    assert done['a'] == done['b'] == [1, None]
    assert done['bad'][0] is None
    assert '3 workers were lost' in str(done['bad'][1])


def test_a_worker_with_a_gpu_prepares_once(machines: Any) -> None:
    node = machines.add_node(num_cpus=1, num_gpus=1, include_log_monitor=False)
    machines.wait_for_nodes(timeout=300)

    def prepare() -> Callable[[str], tuple[int, float]]:
        prepared = time.time()
        return lambda path: (os.getpid(), prepared)

    made = [one for _, one, _ in Cluster(machines.address, gpus=1).run(prepare, ['a', 'b', 'c'])]
    machines.remove_node(node)
    assert len(made) == 3
    assert len(set(made)) == 1
