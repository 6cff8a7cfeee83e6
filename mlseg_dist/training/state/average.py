"""Exponential moving average of a network's parameters (Polyak & Juditsky 1992; of teachers: Tarvainen & Valpola 2017)."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Average:
    """average <- decay x average + (1 - decay) x parameters, once a step. Buffers (BatchNorm's statistics) are the module's own.

    decay None: there is no average; all calls leave everything as it is, and weights() are the module's. Make it after the engine,
    when the parameters have their final layout and values. Every rank keeps the same.
    """

    def __init__(self, module: nn.Module, decay: float | None) -> None:
        self._module, self._decay = module, decay
        self._averages = [] if decay is None else [parameter.clone() for parameter in self._parameters()]

    @torch.no_grad()
    def update(self, finite: torch.Tensor | None = None) -> None:
        """After a step. finite: `Engine.finite`; where it is false nothing changes. Does not wait for the device."""
        if self._decay is None:
            return
        weight = 1.0 - self._decay
        change = torch._foreach_sub(self._parameters(), self._averages)
        torch._foreach_mul_(change, weight if finite is None else finite * weight)
        torch._foreach_add_(self._averages, change)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The module computes with the averages meanwhile; afterwards it has its parameters back, bit by bit."""
        if self._decay is None:
            yield
            return
        parameters = self._parameters()
        kept = [parameter.clone() for parameter in parameters]
        torch._foreach_copy_(parameters, self._averages)
        try:
            yield
        finally:
            torch._foreach_copy_(parameters, kept)

    def weights(self) -> dict[str, torch.Tensor]:
        """State dict of a network with these parameters: averages, and the module's buffers as they are now; not copies."""
        return {**self._module.state_dict(), **self.state_dict()}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Parameter's name -> average; the tensors themselves, not copies."""
        return dict(zip(self._names(), self._averages, strict=True)) if self._decay is not None else {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """What state_dict() or weights() gave; empty (a checkpoint made without an average): start from the parameters as they are.

        Raises KeyError when a parameter has no average.
        """
        if self._decay is None:
            return
        if not state:
            torch._foreach_copy_(self._averages, self._parameters())
            return
        for name, average in zip(self._names(), self._averages, strict=True):
            average.copy_(state[name])

    def _names(self) -> list[str]:
        return [name for name, _ in self._module.named_parameters()]

    def _parameters(self) -> list[torch.Tensor]:
        # Asked for anew each time: an engine may have moved a parameter's storage.
        return [parameter.detach() for parameter in self._module.parameters()]
