"""A policy is data: a list of ops, each with ranges and a probability, drawn together once a sample. An op comes at most once,
albumentations once with each transform.

Policies have names (`policies:` of a config); a list may hold names of others, and a step gives a name or a list:

    policies:
      basic: [{op: rotate}, {op: flip}]
    steps:
      - name: base
        augment: basic
      - name: master-1
        augment: [basic, {op: gaussian_noise, sigma: [0, 8], p: 0.5}]

gan_style alone is done when a sample is read, before any executor: it needs styled views beside the corpus (mlseg_dist.style).
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from mlseg_core.errors import UserError
from mlseg_dist.augment.albumentations_ops import AlbumentationsOp
from mlseg_dist.augment.colour_ops import ColourOp
from mlseg_dist.augment.geometry_ops import FlipOp, GeometryOp, RotateOp
from mlseg_dist.augment.optics_ops import OpticsOp
from mlseg_dist.augment.style_ops import GanStyleOp

OpConfig = Annotated[GeometryOp | OpticsOp | ColourOp | GanStyleOp | AlbumentationsOp, Field(discriminator="op")]


def _each_once(ops: tuple[OpConfig, ...]) -> tuple[OpConfig, ...]:
    names = [op.stream for op in ops]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"op {twice[0]} comes twice; a policy has each op once, albumentations once with each transform"
        )
    return ops


PolicyConfig = Annotated[tuple[OpConfig, ...], AfterValidator(_each_once)]
DEFAULT_POLICY: tuple[OpConfig, ...] = (RotateOp(op="rotate"), FlipOp(op="flip"))


def named(tree: Any, where: object) -> Any:
    """A config's plain tree with names of policies replaced by their ops. Raises UserError for an unknown or circular name.

    What is no list or name stays as it is, for the model to refuse.
    """
    if not isinstance(tree, dict):
        return tree
    policies = tree.get("policies", {})
    if not isinstance(policies, dict):
        return tree
    out = dict(tree)
    if policies:
        out["policies"] = {
            name: _ops(items, policies, f"policies.{name}", where, (name,)) for name, items in policies.items()
        }
    if isinstance(tree.get("steps"), list):
        out["steps"] = [_step(step, policies, where) for step in tree["steps"]]
    return out


def _step(step: Any, policies: Mapping[str, Any], where: object) -> Any:
    if not isinstance(step, dict) or "augment" not in step:
        return step
    return {**step, "augment": _ops(step["augment"], policies, f"steps.{step.get('name')}.augment", where, ())}


def _ops(items: Any, policies: Mapping[str, Any], key: str, where: object, seen: tuple[str, ...]) -> Any:
    if isinstance(items, str):
        items = [items]
    if not isinstance(items, list):
        return items
    ops: list[Any] = []
    for item in items:
        if not isinstance(item, str):
            ops.append(item)
            continue
        if item in seen:
            raise UserError(f"key {key!r}: policies name each other in a circle at {item!r}", where, "Give its ops.")
        if item not in policies:
            known = f"There are: {', '.join(policies)}." if policies else "The config has no `policies`."
            raise UserError(f"key {key!r}: no policy {item!r}", where, known)
        found = _ops(policies[item], policies, f"policies.{item}", where, (*seen, item))
        if not isinstance(found, list):
            return found
        ops += found
    return ops
