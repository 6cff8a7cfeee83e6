"""What a network costs, part by part: parameters, multiply-adds, bytes of activations, time of a forward pass."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mlseg_dist.model.build import Network, channels_last

_ROUNDS = 3


@dataclass(frozen=True)
class Component:
    """One child of a network. gmac: 10^9 multiply-adds of convolutions for one pair. activation_bytes: all maps that its
    layers write for one pair, at the size of the data type. ms: median of a forward pass; None: not measured."""

    name: str
    parameters: int
    gmac: float
    activation_bytes: int
    ms: float | None


@dataclass(frozen=True)
class Summary:
    """side: px of the views. parts, and their totals."""

    side: int
    dtype: str
    device: str
    parts: tuple[Component, ...]

    def total(self, what: str) -> Any:
        values = [getattr(part, what) for part in self.parts]
        return None if None in values else sum(values)

    def json(self) -> dict[str, Any]:
        """Totals and parts, for `--json`."""
        totals = {what: self.total(what) for what in ("parameters", "gmac", "activation_bytes", "ms")}
        head = {"patch_px": self.side, "dtype": self.dtype, "device": self.device}
        return totals | head | {"parts": [asdict(part) for part in self.parts]}


def summarise(build: Callable[[], Network], side: int, bf16: bool, device: torch.device | None) -> Summary:
    """build: makes the network, anywhere. device: where a pass is timed; None: only counted, without memory or time."""
    with torch.device("meta"):
        counted = build().eval()
    gmac, written = _count(counted, side)
    ms = _time(build().eval().to(device), side, bf16, device) if device is not None else {}
    size = 2 if bf16 else 4
    parts = tuple(
        Component(
            name=name.removesuffix("s") if name == "merges" else name,
            parameters=sum(p.numel() for p in child.parameters()),
            gmac=gmac.get(name, 0) / 1e9,
            activation_bytes=written.get(name, 0) * size,
            ms=ms.get(name),
        )
        for name, child in counted.named_children()
    )
    where = "not timed" if device is None else torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return Summary(side, "bfloat16" if bf16 else "float32", where, parts)


def _count(model: Network, side: int) -> tuple[dict[str, int], dict[str, int]]:
    """Child -> multiply-adds, elements written by its leaf layers, of one pair."""
    written: dict[str, int] = {}

    def note(part: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any, out: Any) -> None:
            written[part] = written.get(part, 0) + (out.numel() if isinstance(out, torch.Tensor) else 0)

        return hook

    for name, child in model.named_children():
        for module in child.modules():
            if not list(module.children()) and not isinstance(module, nn.Identity):
                module.register_forward_hook(note(name))
    views = torch.empty(2, 1, 3, side, side, device="meta")
    macs: dict[str, int] = {}
    for name, total in _flops(model, views).items():
        macs[name] = total // 2
    return macs, written


def _flops(model: Network, views: torch.Tensor) -> dict[str, int]:
    """Child -> floating-point operations."""
    found: dict[str, int] = {}
    with FlopCounterMode(display=False) as counter:
        before = 0

        def begin(*_: Any) -> None:
            nonlocal before
            before = counter.get_total_flops()

        def end(name: str) -> Callable[..., None]:
            def hook(*_: Any) -> None:
                found[name] = found.get(name, 0) + counter.get_total_flops() - before

            return hook

        with _around(model, begin, end):
            model(views[0], views[1])
    return found


def _time(model: Network, side: int, bf16: bool, device: torch.device) -> dict[str, float]:
    """Child -> ms of a forward pass of one pair, median of a few."""
    channels_last(model)
    views = torch.zeros(2, 1, 3, side, side, device=device)
    rounds: list[dict[str, float]] = []
    started = 0.0

    def now() -> float:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter()

    def begin(*_: Any) -> None:
        nonlocal started
        started = now()

    def end(name: str) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            rounds[-1][name] = rounds[-1].get(name, 0.0) + 1000 * (now() - started)

        return hook

    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16), _around(model, begin, end):
        for _ in range(_ROUNDS + 1):
            rounds.append({})
            model(views[0].contiguous(memory_format=torch.channels_last), views[1])
    return {name: statistics.median(r[name] for r in rounds[1:]) for name in rounds[-1]}


@contextmanager
def _around(model: Network, begin: Callable[..., None], end: Callable[[str], Callable[..., None]]) -> Iterator[None]:
    """Call begin before and end(name) after each forward of a child (of its children, where it has no forward itself)."""
    handles = []
    for name, child in model.named_children():
        for module in _called(child):
            handles.append(module.register_forward_pre_hook(begin))
            handles.append(module.register_forward_hook(end(name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _called(module: nn.Module) -> list[nn.Module]:
    if type(module).forward is not nn.Module.forward:
        return [module]
    return [callee for child in module.children() for callee in _called(child)]
