"""What a graph must compute and move at least, operator by operator: multiply-adds and bytes.

The rule, for each operator that runs:
- it reads every tensor it takes and writes every tensor it gives, once; a broadcast tensor counts without its repeats;
- views, allocations and casts cost nothing; a fill only writes, a copy does not read where it writes;
- activations and their backward cost nothing: they are fused into the pass of the norm before them, which costs one
  pass (read, write), statistics included; its backward reads gradient and input once and writes one gradient;
- the backward of a convolution is two operators, each with the forward's multiply-adds: gradient and weight to the
  input's gradient, gradient and input to the weight's;
- other multiply-adds (matrix products) as torch counts them.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

_FREE = (
    *("empty", "new_empty", "_to_copy", "_unsafe_view", "as_strided", "_assert"),
    *("silu", "sigmoid", "relu", "threshold_backward"),
)
_FILLS = ("zeros", "new_zeros", "ones", "full", "rand", "bernoulli", "zero_", "fill_", "arange", "scalar_tensor")


@dataclass(frozen=True)
class Op:
    """One operator of a graph. bytes: read and written."""

    name: str
    macs: int
    bytes: int


@dataclass
class Roofs:
    """What the device was measured to do at best: multiply-adds a second and bytes a second, read + written."""

    macs_s: float
    bytes_s: float

    def floors(self, ops: Iterable[Op]) -> dict[str, float]:
        """Seconds. arithmetic, traffic: of all operators. roofline: sum over operators of the larger of the two."""
        pairs = [(op.macs / self.macs_s, op.bytes / self.bytes_s) for op in ops]
        return {
            "arithmetic": sum(macs for macs, _ in pairs),
            "traffic": sum(moved for _, moved in pairs),
            "roofline": sum(max(pair) for pair in pairs),
        }


@dataclass
class Counter(TorchDispatchMode):
    """Within it, every operator that runs is put down in `ops`."""

    ops: list[Op] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        key, has = torch._C.DispatchKey, func.has_kernel_for_dispatch_key
        if has(key.CompositeImplicitAutograd) and not has(key.CPU) and not has(key.CUDA):
            with self:  # in inference mode operators that are only made of others come whole
                out = func.decompose(*args, **(kwargs or {}))
            if out is not NotImplemented:
                return out
        out = func(*args, **(kwargs or {}))
        self.ops += [op for op in _count(func, args, kwargs or {}, out) if op.macs or op.bytes]
        return out


def optimizer_op(parameters: Iterable[torch.Tensor]) -> Op:
    """Adam in one pass: reads parameter, gradient and both moments, writes parameter and both moments."""
    return Op("adam", 0, 7 * sum(_bytes(p) for p in parameters))


def loss_ops(logits: Iterable[torch.Tensor]) -> list[Op]:
    """Forward reads logits and labels (uint8) once; backward reads them again and writes the logits' gradient."""
    ops = []
    for head in logits:
        read = _bytes(head) + head.numel() // head.shape[1]
        ops += [Op("loss", 0, read), Op("loss_backward", 0, read + _bytes(head))]
    return ops


def _count(func: Any, args: Any, kwargs: Any, out: Any) -> list[Op]:
    name = func._schema.name.removeprefix("aten::")
    if name == "convolution":
        x, weight = args[:2]
        return [Op(name, _conv_macs(weight, x if args[6] else out), _moved([args, out]))]
    if name == "convolution_backward":
        gradient, x, weight = args[:3]
        macs = _conv_macs(weight, x if args[7] else gradient)
        parts = [("input", [gradient, weight, out[0]]), ("weight", [gradient, x, out[1], out[2]])]
        return [Op(f"{name}, {part}", macs, _moved(moved)) for part, moved in parts if moved[2] is not None]
    returns = [result.alias_info for result in func._schema.returns]
    is_view = bool(returns) and all(alias is not None and not alias.is_write for alias in returns)
    if is_view or name.startswith(_FREE):
        return []
    if name.startswith(_FILLS):
        return [Op(name, 0, _moved(out))]
    formula = flop_registry.get(func._overloadpacket)
    macs = int(formula(*args, **kwargs, out_val=out)) // 2 if formula else 0
    taken = args[1:] if name == "copy_" else args
    return [Op(name, macs, _moved([taken, kwargs, out]))]


def _conv_macs(weight: torch.Tensor, many: torch.Tensor) -> int:
    """many: the output; of a transposed convolution the input. Each of its values meets the weights of one channel."""
    return many.numel() * math.prod(weight.shape[1:])


def _moved(tree: Any) -> int:
    return sum(_bytes(leaf) for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))


def _bytes(tensor: torch.Tensor) -> int:
    cells = math.prod(size for size, step in zip(tensor.shape, tensor.stride(), strict=True) if step)
    return cells * tensor.element_size() if tensor.numel() else 0
