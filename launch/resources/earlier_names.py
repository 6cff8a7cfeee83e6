"""The names that resources had before there was a block for each kind of work: read in files and on command lines, and written for
runs whose frozen code knows no others.

`cluster.map` was one block for cutting, labelling, styling and evaluating; `cluster.single` is now `small`; generators trained on
`cluster.train`. Of a block's keys, `gpus_per_node`, `mem_gb` and `timeout_min` are now `gpus`, `mem` and `time`.
"""

from typing import Any

from launch.resources.quantities import megabytes

_BLOCKS = {"map": ("cut", "style", "label", "evaluate"), "single": ("small",)}
_KEYS = {"gpus_per_node": "gpus", "mem_gb": "mem", "timeout_min": "time"}
_TODAY = ("train", "default", "cut", "style", "label", "evaluate", "small")
_EARLIER_DEFAULTS: dict[str, Any] = {
    "workers": 1, "nodes": 1, "tasks_per_node": 1, "gpus": 0, "cpus_per_task": 1, "mem": None, "time": 60, "partition": None,
    "account": None, "qos": None, "setup": [], "container": [], "extra": {},
}  # fmt: skip


def translate_cluster(raw: Any) -> Any:
    """The section with today's names, a new tree. Raises ValueError where one thing is set by both its names."""
    if not isinstance(raw, dict):
        return raw
    found = {key: value for key, value in raw.items() if key not in _BLOCKS}
    is_earlier = len(found) < len(raw)
    for name in _TODAY:
        if isinstance(found.get(name), dict):
            is_earlier |= any(key in found[name] for key in _KEYS)
            found[name] = _translate_block(found[name], name)
    for earlier, names in _BLOCKS.items():
        if earlier not in raw:
            continue
        block = _translate_block(raw[earlier], earlier)
        for name in names:
            if name in found:
                raise ValueError(
                    f"cluster.{earlier} is the earlier name of {', '.join(names)}, and cluster.{name} is set as well: use one"
                )
            found[name] = dict(block) if isinstance(block, dict) else block
    if is_earlier:
        found.setdefault("generators", "train")
    return found


def _translate_block(block: Any, name: str) -> Any:
    if not isinstance(block, dict):
        return block
    found: dict[str, Any] = {}
    for key, value in block.items():
        new = _KEYS.get(str(key), str(key))
        if key in _KEYS and new in block:
            raise ValueError(
                f"cluster.{name}.{key} is the earlier name of cluster.{name}.{new}, and both are set: use {new}"
            )
        found[new] = _memory(value) if key == "mem_gb" else value
    return found


def _memory(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        return value  # left to the validation
    return f"{value}GB" if value else None


def without_defaults(cluster: dict[str, Any]) -> None:
    """Drop what equals the defaults, in place, from a translated section of a run that recorded every key, set or not."""
    for name in _TODAY:
        if isinstance(block := cluster.get(name), dict):
            for key, value in _EARLIER_DEFAULTS.items():
                if key in block and block[key] == value:
                    del block[key]


def translate_override(override: str) -> list[str]:
    """`cluster.map.gpus_per_node=1` -> the same by today's names, one for each block that it means."""
    key, equals, text = override.partition("=")
    parts = key.split(".")
    if parts[0] != "cluster" or len(parts) < 2:
        return [override]
    if parts[2:] and parts[2] in _KEYS:
        if parts[2] == "mem_gb" and text.strip().isdecimal():
            text = f"{text.strip()}GB" if int(text) else "null"
        parts[2] = _KEYS[parts[2]]
    return [".".join(["cluster", name, *parts[2:]]) + equals + text for name in _BLOCKS.get(parts[1], (parts[1],))]


def by_earlier_names(settled: dict[str, Any]) -> dict[str, Any]:
    """ClusterConfig.settled() as code of before would have recorded it. Raises ValueError for what that code could not express."""
    if settled["alerts"]:
        raise ValueError("it knows no alerts")
    first, *others = (settled[name] for name in _BLOCKS["map"])
    if any(other != first for other in others):
        raise ValueError(f"it has one block for {', '.join(_BLOCKS['map'])}, and they differ")
    blocks = {"map": first, "train": settled["train"], "single": settled["small"]}
    found = {name: _earlier_block(name, block) for name, block in blocks.items()}
    return {"executor": settled["executor"], **found, "retries": settled["retries"], "replan": settled["replan"]}


def _earlier_block(name: str, block: dict[str, Any]) -> dict[str, Any]:
    for key in ("python", "binds", "retry"):
        if block[key]:
            raise ValueError(f"it knows no {name}.{key}")
    if not isinstance(block["gpus"], int):
        raise ValueError(f"it takes {name}.gpus as a number only")
    memory = 0 if block["mem"] is None else megabytes(block["mem"])
    if memory % 1024:
        raise ValueError(f"it takes {name}.mem in whole GB only")
    return {
        "workers": block["workers"],
        "nodes": block["nodes"],
        "tasks_per_node": block["tasks_per_node"],
        "gpus_per_node": block["gpus"],
        "cpus_per_task": block["cpus_per_task"],
        "mem_gb": memory // 1024,
        "timeout_min": block["time"],
        **{key: block[key] for key in ("partition", "account", "qos", "setup", "container", "extra")},
    }
