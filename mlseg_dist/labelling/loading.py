"""From a shard to a batch of views: threads read and check, and OpenCV decodes there too, or NVIDIA DALI on the GPU.

In: rows of a shard. Out: uint8 (B, S, S, 3) high and low, where the network can take them from.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain

import numpy as np
import simplejpeg
import torch

from mlseg_dist.data.dali_pipeline import FedPipeline, check_dali
from mlseg_dist.data.prefetch import batch_memory
from shards.sample import decode_rgb
from shards.tar import BadShard, ShardReader

AHEAD = 2
"""Batches that are loaded, and as many that are finished, beside the one that is computed: what bounds the memory."""
VIEWS = ("high", "low")


class Batch(ABC):
    """Rows of a shard. Read each from any thread; then start(); then views(), once."""

    def __init__(self, rows: Sequence[int]) -> None:
        self.rows = rows

    def read(self, shard: ShardReader, position: int) -> None:
        """One pair, by its place in the batch. Raises BadShard, also for a view of another size."""
        row = self.rows[position]
        for view in VIEWS:
            data = shard.read_member(row, shard.members.index(f"{view}.jpg"))
            try:
                self._take(view, position, data)
            except ValueError as error:
                raise BadShard(f"{shard.path}: {shard.key(row)}.{view}.jpg: {error}") from error

    @abstractmethod
    def _take(self, view: str, position: int, data: bytes) -> None:
        """data: of a JPEG. Raises ValueError."""

    @abstractmethod
    def start(self) -> None:
        """All is read. May be called again."""

    @abstractmethod
    def views(self) -> tuple[torch.Tensor, torch.Tensor]:
        """high, low."""


class Loader(ABC):
    """Makes empty batches."""

    @abstractmethod
    def batch(self, rows: Sequence[int]) -> Batch: ...

    @abstractmethod
    def drop(self) -> None:
        """Forget batches that were started and not used."""


class DecodedBatch(Batch):
    """In memory that a GPU can copy from meanwhile, if pinned."""

    def __init__(self, rows: Sequence[int], side: int, pinned: bool) -> None:
        super().__init__(rows)
        shape = (len(rows), side, side, 3)
        self._views = batch_memory(pinned, high=shape, low=shape)

    def _take(self, view: str, position: int, data: bytes) -> None:
        image, target = decode_rgb(data), self._views[view][position].numpy()
        _same_shape(image.shape, target.shape)
        target[:] = image

    def start(self) -> None:
        """It is decoded already."""

    def views(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._views["high"], self._views["low"]


class InThreads(Loader):
    """The threads that read decode. side: of the stored views, px.  pinned: for a GPU."""

    def __init__(self, side: int, pinned: bool) -> None:
        self._side, self._pinned = side, pinned

    def batch(self, rows: Sequence[int]) -> Batch:
        return DecodedBatch(rows, self._side, self._pinned)

    def drop(self) -> None:
        """Batches hold all that they need."""


class EncodedBatch(Batch):
    """JPEGs that DALI decodes from start() on."""

    def __init__(self, rows: Sequence[int], side: int, decoder: FedPipeline) -> None:
        super().__init__(rows)
        self._side, self._decoder, self._started = side, decoder, False
        self._data = {view: [np.empty(0, np.uint8)] * len(rows) for view in VIEWS}

    def _take(self, view: str, position: int, data: bytes) -> None:
        height, width, *_ = simplejpeg.decode_jpeg_header(data)
        _same_shape((height, width, 3), (self._side, self._side, 3))
        self._data[view][position] = np.frombuffer(data, np.uint8)

    def start(self) -> None:
        if not self._started and self._decoder.under_way < self._decoder.ahead:
            self._decoder.feed({"jpeg": list(chain.from_iterable(self._data.values()))})
            self._started = True

    def views(self) -> tuple[torch.Tensor, torch.Tensor]:
        (images,) = self._decoder.collect()
        high, low = images.split(len(self.rows))
        return high, low


class OnDali(Loader):
    """side: of the stored views, px.  most: pairs in a batch.  device_id: of the GPU; None: DALI's CPU decoder, for tests.

    threads: of DALI's. Raises UserError where DALI is not installed, or there is no GPU.
    """

    def __init__(self, side: int, most: int, device_id: int | None, threads: int) -> None:
        check_dali("label.decode_on", device_id)
        from nvidia.dali import Pipeline, fn
        from nvidia.dali.types import DALIDataType, DALIImageType

        self._side = side
        device = torch.device("cpu") if device_id is None else torch.device("cuda", device_id)
        pipeline = Pipeline(
            batch_size=2 * most,
            num_threads=threads,
            device_id=device_id,
            prefetch_queue_depth=AHEAD,
            exec_dynamic=True,  # gives memory back as soon as an image has been used
        )
        with pipeline:
            jpeg = fn.external_source(name="jpeg", dtype=DALIDataType.UINT8, ndim=1)
            where = "cpu" if device_id is None else "mixed"
            pipeline.set_outputs(fn.decoders.image(jpeg, device=where, output_type=DALIImageType.RGB))
        pipeline.build()
        glass = simplejpeg.encode_jpeg(np.full((side, side, 3), 255, np.uint8), colorsubsampling="444")
        self._decoder = FedPipeline(pipeline, AHEAD, device, {"jpeg": [np.frombuffer(glass, np.uint8)] * (2 * most)})

    def batch(self, rows: Sequence[int]) -> Batch:
        return EncodedBatch(rows, self._side, self._decoder)

    def drop(self) -> None:
        self._decoder.drop()


def _same_shape(found: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if found != wanted:
        raise ValueError(f"it is {found}, not {wanted}")
