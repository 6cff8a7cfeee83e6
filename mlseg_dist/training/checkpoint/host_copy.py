"""A copy of state dicts in host memory that stays as it is while training changes the originals."""

from collections import OrderedDict
from typing import Any

import torch


class HostCopy:
    """Memory for one state at a time; the next of the same shapes goes into the same memory, page-locked for a GPU's."""

    def __init__(self) -> None:
        self._buffers: list[tuple[tuple[Any, ...], torch.Tensor]] = []
        self._next = 0
        self._gpus: set[torch.device] = set()

    def take(self, state: dict[str, Any]) -> dict[str, Any]:
        """Equal containers and numbers, tensors of equal shape, dtype and strides on the CPU; returns when all is copied.

        Raises TypeError for what torch.load(weights_only=True) would not give back.
        """
        self._next, self._gpus = 0, set()
        copied = {name: self._copy(value, name) for name, value in state.items()}
        del self._buffers[self._next :]
        for device in self._gpus:
            torch.cuda.current_stream(device).synchronize()
        return copied

    def _copy(self, value: Any, where: str) -> Any:
        if isinstance(value, torch.Tensor):
            return self._tensor(value.detach(), where)
        if value is None or type(value) in (bool, int, float, str):
            return value
        if type(value) in (list, tuple):
            return type(value)(self._copy(x, f"{where}[{i}]") for i, x in enumerate(value))
        if type(value) in (dict, OrderedDict) and all(type(key) in (bool, int, float, str) for key in value):
            copied = type(value)((key, self._copy(x, f"{where}.{key}")) for key, x in value.items())
            if isinstance(value, OrderedDict):  # a module's state dict keeps its layers' versions in an attribute
                vars(copied).update(self._copy(vars(value), f"{where}.__dict__"))
            return copied
        raise TypeError(f"{where}: a checkpoint cannot hold {type(value).__module__}.{type(value).__qualname__}")

    def _tensor(self, x: torch.Tensor, where: str) -> torch.Tensor:
        if type(x) is not torch.Tensor or x.layout != torch.strided or x.device.type not in ("cpu", "cuda"):
            raise TypeError(f"{where}: a checkpoint cannot hold a {type(x).__name__} {x.layout} on {x.device}")
        kind = (x.shape, x.dtype, x.stride(), x.is_cuda)
        if self._next == len(self._buffers) or self._buffers[self._next][0] != kind:
            buffer = torch.empty_like(x, device="cpu", pin_memory=x.is_cuda)
            self._buffers[self._next : self._next + 1] = [(kind, buffer)]
        if x.is_cuda:
            self._gpus.add(x.device)
        self._next += 1
        return self._buffers[self._next - 1][1].copy_(x, non_blocking=True)
