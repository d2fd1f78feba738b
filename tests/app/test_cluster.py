"""A Ray cluster encodes what this process would, whatever becomes of its machines."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demul_mm.app.library import Library
from tests.app.films import ColourEncoder, write_film

ray = pytest.importorskip('ray', reason='needs ray: pip install "demul-mm[ray]"')
pytestmark = pytest.mark.slow
VIDEOS = 12


class SlowColours(ColourEncoder):
    """Long enough at a video that its machine can be lost meanwhile."""

    def encode_images(self, pictures: list[np.ndarray]) -> np.ndarray:
        time.sleep(0.2)
        return super().encode_images(pictures)


@pytest.fixture(scope='module')
def machines() -> Iterator[Any]:
    from ray.cluster_utils import Cluster as Machines

    alone = dict(include_dashboard=False, include_log_monitor=False, no_monitor=True)
    machines = Machines(initialize_head=True, head_node_args=dict(num_cpus=1, **alone))
    yield machines
    ray.shutdown()
    machines.shutdown()


def contents(library: Library) -> dict[str, tuple[np.ndarray, float]]:
    return {
        Path(row.path).name: library.frames(row.key) for row in library.catalogue.videos('indexed')
    }


def test_a_lost_machine_costs_nothing_but_time(tmp_path: Path, machines: Any) -> None:
    from demul_mm.app.cluster import Cluster

    films = tmp_path / 'films'
    for number in range(VIDEOS):
        write_film(films / f'{number:02d}.mp4', ['red', 'green', 'blue'][: 1 + number % 3], 2)
    (films / 'broken.mp4').write_bytes(b'no film')
    here = Library(tmp_path / 'here', ColourEncoder)
    here.update([films])

    lost = machines.add_node(num_cpus=1, include_log_monitor=False)
    machines.wait_for_nodes(timeout=300)
    cluster = Cluster(machines.address, SlowColours)
    library = Library(tmp_path / 'library', ColourEncoder)
    done = []

    def lose_one(path: str, share: float, number: int, total: int) -> None:
        done.append(path)
        if number == 3 and lost in machines.list_all_nodes():
            machines.remove_node(lost, allow_graceful=False)

    report = library.update([films], progress=lose_one, cluster=cluster)
    assert lost not in machines.list_all_nodes()
    assert (report.added, report.forgotten) == (VIDEOS, 0)
    assert [Path(path).name for path, _ in report.broken] == ['broken.mp4']
    assert len(done) == len(set(done)) == VIDEOS
    assert library.search('red', 1)
    index = library._index
    assert index is not None
    assert index.stats()['videos'] == VIDEOS
    found, expected = contents(library), contents(here)
    assert found.keys() == expected.keys()
    for name, (frames, duration) in expected.items():
        assert np.array_equal(found[name][0], frames)
        assert found[name][1] == duration
    assert library.update([films], cluster=cluster)[:3] == (0, VIDEOS + 1, 0)


def test_other_weights_on_a_machine_are_refused(tmp_path: Path, machines: Any) -> None:
    from demul_mm.app.cluster import Cluster

    write_film(tmp_path / 'films/one.mp4', ['red'])
    cluster = Cluster(machines.address, lambda name: ColourEncoder(name, 'w2'))
    library = Library(tmp_path / 'library', ColourEncoder, seconds=2.0)  # known to no worker
    with pytest.raises(RuntimeError, match='has other weights on this machine'):
        library.update([tmp_path / 'films'], cluster=cluster)
    assert not library.catalogue.videos()
