"""One policy's graph, counted and run on DALI's CPU operators: python -P row.py POLICY BATCH PATCH STORE SECONDS FLOATS -> a
line of JSON. FLOATS: 1 or 0, whether floats are weighed, which takes most of the time.

It uses only what earlier commits of the repository have too, so that it can measure them: their code is found by PYTHONPATH.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from nvidia.dali import Pipeline
from nvidia.dali.types import DALIDataType

from mlseg_dist.augment.dali import graph
from mlseg_dist.augment.dali.executor import DaliExecutor
from mlseg_dist.augment.dali.inputs import sources
from mlseg_dist.augment.dali.recipe import recipe
from mlseg_dist.augment.policy import OpConfig

try:
    from benchmarks.common.feed import MPP, Feed, stored_pairs
    from benchmarks.common.policies import table8
except ModuleNotFoundError:  # an earlier commit, from before benchmarks had a common folder
    from benchmarks.gpu.feed import MPP, Feed, stored_pairs
    from benchmarks.policies import table8

_BATCHES = 3


def kinds(ops: tuple[OpConfig, ...], patch_px: int, store_px: int, device_id: int | None) -> Counter[str]:
    """Kind of operator -> how many nodes of the graph are one. Needs no GPU: the graph of a device is written but not built."""
    pipeline = _unbuilt(ops, patch_px, store_px, 2, device_id)
    return Counter(type(node.source._op).__name__.lstrip("_") for node in _nodes(pipeline))


def measure(policy: str, batch: int, patch_px: int, store_px: int, seconds: float, weigh: bool) -> dict[str, Any]:
    ops = table8()[policy]
    out: dict[str, Any] = {
        "gpu": kinds(ops, patch_px, store_px, 0),
        "cpu": kinds(ops, patch_px, store_px, None),
    }
    executor = DaliExecutor(ops, patch_px, store_px, MPP, batch, None, threads=2)
    feed = Feed(executor, ops, stored_pairs(store_px, batch))
    batches = [samples for _, samples in zip(range(_BATCHES), feed.made_ahead(_BATCHES), strict=False)]
    with _recorded() as fed:
        list(executor.stream(batches[:1]))
    on_device = {
        name
        for name, source in sources(recipe(ops, MPP, store_px, patch_px)).items()
        if source.place in ("normals", "uniforms")
    }
    for key, names in (("host", fed.keys() - on_device), ("device", fed.keys() & on_device)):
        arrays = [array for name in names for array in fed[name]]
        out[key] = {"sources": len(names), "arrays": len(arrays), "mb": sum(x.nbytes for x in arrays) / 1e6}
    if weigh:
        out["floats"] = _floats(ops, patch_px, store_px, batches[0])
    return out | _rate(executor, batches, seconds)


def _unbuilt(ops: tuple[OpConfig, ...], patch_px: int, store_px: int, views: int, device_id: int | None) -> Pipeline:
    build = Pipeline.build
    Pipeline.build = lambda self: None
    try:
        return graph.build(recipe(ops, MPP, store_px, patch_px), views, device_id, 1, 1)
    finally:
        Pipeline.build = build


def _nodes(pipeline: Pipeline) -> list[Any]:
    """The first output of each operator instance that the graph's outputs depend on."""
    found: dict[int, Any] = {}
    waiting = list(pipeline._graph_out)
    while waiting:
        node = waiting.pop()
        if node.source.id not in found:
            found[node.source.id] = node
            waiting += node.source.inputs
    return list(found.values())


@contextmanager
def _recorded() -> Iterator[dict[str, list[np.ndarray]]]:
    """What Pipeline.feed_input was given, by source: one array, or one a view."""
    fed: dict[str, list[np.ndarray]] = {}
    feed_input = Pipeline.feed_input

    def record(self: Pipeline, name: str, data: Any, *rest: Any, **more: Any) -> None:
        fed[name] = [np.asarray(array) for array in data] if isinstance(data, list) else [np.asarray(data)]
        feed_input(self, name, data, *rest, **more)

    Pipeline.feed_input = record
    try:
        yield fed
    finally:
        Pipeline.feed_input = feed_input


def _floats(ops: tuple[OpConfig, ...], patch_px: int, store_px: int, samples: list[Any]) -> dict[str, float]:
    """MB of float that operators write for a micro-batch, sources apart: every node is made an output and weighed.

    Sample by sample, and added up: all outputs of a micro-batch together would take tens of GB.
    """
    pipeline = _unbuilt(ops, patch_px, store_px, 2, None)
    nodes = [node for node in _nodes(pipeline) if type(node.source._op).__name__ != "ExternalSource"]
    outputs = [out for node in nodes for out in node.source.outputs]
    pipeline.set_outputs(*outputs)
    pipeline.build()
    weights = np.zeros(len(outputs))
    one = DaliExecutor(ops, patch_px, store_px, MPP, 1, None, threads=1)
    for sample in samples:
        with _recorded() as fed:
            list(one.stream([[sample]]))
        for name, arrays in fed.items():
            pipeline.feed_input(name, arrays if len(arrays) > 1 else arrays[0])
        for at, out in enumerate(pipeline.run()):
            if out.dtype == DALIDataType.FLOAT:
                weights[at] += 4 * sum(int(np.prod(shape)) for shape in out.shape()) / 1e6
    return {"mb": weights.sum(), "largest": weights.max(initial=0.0)}


def _rate(executor: DaliExecutor, batches: list[Any], seconds: float) -> dict[str, float]:
    """Pairs a second and a CPU second."""
    list(executor.stream(batches[:1]))
    wall, cpu, done = time.perf_counter(), time.process_time(), 0
    while time.perf_counter() - wall < seconds:
        list(executor.stream([batches[done % len(batches)]]))
        done += 1
    pairs = done * executor.batch
    return {"rate": pairs / (time.perf_counter() - wall), "per_cpu_s": pairs / (time.process_time() - cpu)}


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], *map(int, sys.argv[2:5]), float(sys.argv[5]), sys.argv[6] == "1")))
