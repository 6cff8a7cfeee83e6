"""wandb: whether figures will reach Weights & Biases while the campaign runs. Nothing here is ever a reason not to start."""

import netrc
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

from launch.preflight.finding import Finding
from launch.preflight.site import Site

_PATIENCE_S = 3.0


def wandb(site: Site) -> Iterator[Finding]:
    """Check the mode, the key and the server."""
    from mlseg_dist.tracking.run import Unreachable, chosen_mode, probe

    tracking = site.config.tracking
    if not tracking.enabled:
        yield Finding("W&B", "skipped", "tracking.enabled is false")
        return
    later = "Runs stay offline; `mlseg wandb-follow` sends them from where there is internet and a key."
    if chosen_mode(site.config) == "offline":
        why = "tracking.mode is offline" if tracking.mode == "offline" else "no WANDB_API_KEY in the environment"
        yield Finding("W&B", "ok", f"offline ({why}). {later}")
        return
    address = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
    if not _has_key(address):
        yield Finding("W&B", "warning", f"tracking.mode is online, but there is no key. {later}", "Set WANDB_API_KEY.")
        return
    try:
        probe(_PATIENCE_S)
    except Unreachable as error:
        yield Finding("W&B", "warning", f"{error}. {later}", "Or set tracking.mode=offline.")
    else:
        yield Finding("W&B", "ok", f"online: {address} answers here, project {tracking.project}")


def _has_key(address: str) -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators(urlsplit(address).hostname or "") is not None
    except (OSError, netrc.NetrcParseError):
        return False
