"""Files that are decoded when they are needed give the very bytes that decoding them all at once gives, whatever
threads do.
"""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from nni_plugins.evaluators.data import ImageSet, folder, sources, streaming
from nni_plugins.evaluators.data.decoding import read_image
from nni_plugins.evaluators.data.images import ImageData
from nni_plugins.evaluators.data.reading import settled
from nni_plugins.evaluators.data.settings import DataSettings
from nni_plugins.evaluators.data.streaming import Files
from nni_plugins.evaluators.errors import DataError, LabelError
from nni_plugins.evaluators.objectives import RandomLabels
from nni_plugins.evaluators.settings import read
from nni_plugins.evaluators.training import Training
from nni_plugins.evaluators.training.settings import TrainingSettings


def fill(place: Path, count: int, seed: int = 0, size: tuple[int, int] = (9, 12)) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(np.random.default_rng(seed).integers(0, 256, (count, *size, 3)).astype(np.uint8)):
        Image.fromarray(image).save(place / f"{i:03}.{'jpg' if i % 2 else 'png'}")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("photos")
    fill(place / "ant", 30)
    fill(place / "bee", 25, 1)
    return place


class Slow:
    """A reader that takes a different time for each file, and counts how many files are ahead of their use."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds, self.read, self.lock, self.threads = seconds, list[str](), threading.Lock(), set[int]()

    def __call__(self, file: str, row: npt.NDArray[np.uint8]) -> str | None:
        time.sleep(self.seconds * (int(file) * 7919 % 5))
        with self.lock:
            self.read.append(file)
            self.threads.add(threading.get_ident())
        row[...] = int(file) % 256
        return None


def numbered(count: int, reader: Slow) -> ImageSet:
    return ImageSet("numbered", Files("/", [str(i) for i in range(count)], (3, 2, 2), reader), None)


# The same as in memory


def test_streamed_equals_resident_bit_by_bit(photos: Path) -> None:
    held, streamed = folder.load(str(photos), 8), folder.load(str(photos), 8, resident=False)
    assert held.test is not None and streamed.test is not None
    for a, b in ((held.train, streamed.train), (held.test, streamed.test)):
        assert b.streamed and not a.streamed and len(a) == len(b) and a.size == b.size and a.classes == b.classes
        assert torch.equal(a.labels, b.labels) and a.augmentation == b.augmentation
        index = torch.from_numpy(np.random.default_rng(0).permutation(len(a)))
        for pixels in (a.on("cpu"), b.on("cpu")):
            pixels.plan(index)
            assert torch.equal(torch.cat([pixels.gather(part) for part in index.split(7)]), a.images[index])
        assert all(torch.equal(x, y) for x, y in zip(a.statistics(), b.statistics(), strict=True)), (
            "fewer than 10,000 are all looked at"
        )
        assert torch.equal(b.in_memory().images, a.images)
    part = streamed.train.subset(np.array([5, 2, 9]))
    assert (
        torch.equal(part.on("cpu").gather(torch.arange(3)), held.train.images[[5, 2, 9]])
        and part.labels.tolist() == held.train.labels[[5, 2, 9]].tolist()
    )


def test_a_training_on_streamed_images_equals_one_on_images_in_memory(photos: Path) -> None:
    finals = []
    for resident in (None, False):
        data = folder.load(str(photos), 8, resident)
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 3))
        torch.nn.init.ones_(network[1].weight)  # type: ignore[arg-type]
        torch.nn.init.zeros_(network[1].bias)  # type: ignore[arg-type]
        settings = TrainingSettings(epochs=2, batch_size=8, accelerator="cpu")
        finals.append(Training(network, RandomLabels(3), data.train, settings, 0).run())
    assert finals[0].history == finals[1].history
    assert all(torch.equal(finals[0].final[name], finals[1].final[name]) for name in finals[0].final)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_threads_decide_nothing(monkeypatch: pytest.MonkeyPatch, workers: int) -> None:
    monkeypatch.setattr(streaming, "threads", lambda: workers)
    monkeypatch.setattr(streaming, "AHEAD_BYTES", 0)
    reader = Slow(0.0005)
    pixels = numbered(40, reader).on("cpu")
    order = np.random.default_rng(1).integers(0, 40, 120)  # images come more than once, and out of order
    pixels.plan(order)
    parts = [pixels.gather(torch.from_numpy(order[i : i + 11])) for i in range(0, 120, 11)]
    assert torch.cat(parts)[:, 0, 0, 0].tolist() == order.tolist() and len(reader.read) == 120
    assert len(reader.threads) <= workers and (workers < 2 or len(reader.threads) > 1)


# Plans


def test_a_plan_is_read_ahead_but_not_further_than_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "AHEAD_BYTES", 12 * 20)  # an image has 12 bytes
    reader = Slow()
    pixels = numbered(100, reader).on("cpu")

    def settled_at(count: int) -> bool:
        deadline = time.monotonic() + 5
        while len(reader.read) < count and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(0.02)  # whoever would read more has time to
        return len(reader.read) == count

    pixels.plan(range(100))
    assert settled_at(20)
    assert pixels.gather(torch.arange(7))[:, 0, 0, 0].tolist() == list(range(7)) and settled_at(27)
    assert sorted(map(int, reader.read)) == list(range(27))


def test_what_was_not_planned_comes_all_the_same_and_a_new_plan_replaces_the_old_one() -> None:
    reader = Slow()
    pixels = numbered(60, reader).on("cpu")
    assert pixels.gather(torch.tensor([3, 3, 50]))[:, 2, 1, 1].tolist() == [3, 3, 50] and len(reader.read) == 3
    pixels.plan(torch.arange(30))
    assert pixels.gather(torch.tensor([40, 0, 29]))[:, 0, 0, 0].tolist() == [40, 0, 29]
    pixels.plan([7, 8])
    assert pixels.gather(torch.tensor([8, 7]))[:, 0, 0, 0].tolist() == [8, 7]
    assert pixels.gather(torch.empty(0, dtype=torch.int64)).shape == (0, 3, 2, 2)


def test_threads_end_with_the_pixels() -> None:
    others = set(threading.enumerate())  # those of earlier tests may still be ending

    def alive() -> int:
        return sum(thread.name.startswith("decode") for thread in set(threading.enumerate()) - others)

    pixels = numbered(50, Slow()).on("cpu")
    pixels.plan(range(50))
    pixels.gather(torch.arange(5))
    assert alive() > 0
    del pixels
    gc.collect()
    deadline = time.monotonic() + 5
    while alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert alive() == 0


# What is held and what is streamed


def load(photos: Path, **settings: object) -> ImageData:
    return sources.load(read(DataSettings, {"source": "folder", "path": str(photos), "image_size": 8, **settings}))


def test_size_decides_unless_the_settings_do(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not load(photos).train.streamed and load(photos, resident=False).train.streamed
    monkeypatch.setattr(streaming, "MAX_BYTES", 55 * 3 * 8 * 8)
    assert not load(photos).train.streamed
    monkeypatch.setattr(streaming, "MAX_BYTES", 55 * 3 * 8 * 8 - 1)
    assert load(photos).train.streamed and not load(photos, resident=True).train.streamed


def test_what_was_chosen_is_held_if_it_fits(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = load(photos, limit=10).train
    share = load(photos, per_class=0.25, split_per_class=True).train
    monkeypatch.setattr(streaming, "MAX_BYTES", 3 * 8 * 8 * 30)
    few, of_classes = load(photos, limit=10).train, load(photos, per_class=0.25, split_per_class=True).train
    assert not few.streamed and torch.equal(few.images, whole.images)
    assert not of_classes.streamed and torch.equal(of_classes.images, share.images) and len(share) == 11
    assert load(photos, limit=40).train.streamed


def test_memory_that_is_not_there(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nni_plugins.evaluators.data.reading.room", lambda resident: 1000 if resident else 0)
    with pytest.raises(
        DataError, match=r"/train: 55 images of 8x8 pixels need 0.0 GB, but 0.0 GB are free\.[\s\S]*resident: true"
    ):
        load(photos, resident=True)
    data = folder.load(str(photos), 8, resident=False)
    assert settled(data, None) is data


def test_streamed_images_say_how_to_reach_their_pixels(photos: Path) -> None:
    data = load(photos, resident=False).train
    with pytest.raises(DataError, match=r"are streamed, not held in memory\.[\s\S]*on\(device\)\.gather"):
        _ = data.images
    with pytest.raises(LabelError, match=r"have no label maps\.[\s\S]*segmentation"):
        data.on("cpu").gather_maps(torch.tensor([0]))


# Statistics and identity


def test_statistics_of_many_files_are_those_of_a_fixed_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nni_plugins.evaluators.data.images.SAMPLE", 50)
    reader = Slow()
    images = numbered(200, reader)
    mean, deviation = images.statistics()
    looked = np.array(sorted(map(int, reader.read)))
    assert len(set(looked)) == 50 and len(set(np.diff(looked))) > 1
    assert mean.tolist() == pytest.approx([looked.mean() / 255] * 3) and deviation.tolist() == pytest.approx(
        [looked.std() / 255] * 3
    )
    assert images.statistics() == (mean, deviation) and len(reader.read) == 50, "once"


def test_identity_is_of_names_and_sizes_not_of_times_and_places(tmp_path: Path) -> None:
    def identity(place: Path) -> dict[str, object]:
        return load(place, resident=False).train.identity()

    for name in ("a/photos", "b/photos"):
        fill(tmp_path / name, 4)
    first, same = tmp_path / "a/photos", tmp_path / "b/photos"
    os.utime(same / "001.jpg", (1, 1))
    assert identity(first) == identity(same)
    with open(same / "001.jpg", "ab") as file:
        file.write(b"x")
    assert identity(first) != identity(same)
    (first / "003.jpg").rename(first / "004.jpg")
    renamed = identity(first)
    (first / "004.jpg").rename(first / "005.jpg")
    assert identity(first) != renamed


# Files that are broken


def test_headers_are_looked_at_in_the_beginning(tmp_path: Path) -> None:
    fill(tmp_path, 20)
    (tmp_path / "004.png").write_text("no image")
    with pytest.warns(
        UserWarning, match=r"1 of 20 images cannot be read and are left out: .*004.png \(no image format that we know\)"
    ):
        data = folder.load(str(tmp_path), 8, resident=False)
    with pytest.warns(UserWarning, match="left out"):
        held = folder.load(str(tmp_path), 8)
    assert len(data.train) == 19 and torch.equal(data.train.in_memory().images, held.train.images)
    (tmp_path / "006.png").unlink()
    (tmp_path / "006.png").symlink_to("nowhere")
    with pytest.raises(
        DataError, match=r"2 of 20 images cannot be read \(at most 1 may be\): .*004.png .*006.png \(No such file"
    ):
        folder.load(str(tmp_path), 8, resident=False)


def test_a_file_that_turns_out_broken_later_is_named(tmp_path: Path) -> None:
    fill(tmp_path, 6)
    whole = (tmp_path / "002.png").read_bytes()
    (tmp_path / "002.png").write_bytes(whole[: len(whole) // 2])
    data = folder.load(str(tmp_path), 8, resident=False).train
    pixels = data.on("cpu")
    pixels.plan(range(6))
    assert pixels.gather(torch.tensor([0, 1])).shape == (2, 3, 8, 8), "those before it are unharmed"
    with pytest.raises(DataError, match=r"002.png: cannot be read \(.*\)\.\nRepair or remove it"):
        pixels.gather(torch.tensor([2, 3]))
    (tmp_path / "004.png").unlink()
    with pytest.raises(DataError, match=r"004.png: cannot be read \(No such file or directory\)"):
        data.on("cpu").gather(torch.tensor([4]))
    with pytest.raises(DataError, match=r"002\.png"):
        data.in_memory()


def test_reading_a_file_twice_gives_the_same(photos: Path) -> None:
    row, again = (np.empty((3, 5, 7), dtype=np.uint8) for _ in range(2))
    assert (
        read_image(str(photos / "ant/001.jpg"), row) is None and read_image(str(photos / "ant/001.jpg"), again) is None
    )
    assert np.array_equal(row, again) and row.std() > 0
