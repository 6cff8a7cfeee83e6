"""Alerts by mail and webhook: who is told (config), of what (notices), how (channels), once each (delivery), and when (watch).

What sends them is imported only where `cluster.alerts` asks for some.
"""

from typing import TYPE_CHECKING, Protocol

from launch.alerts.config import AlertsConfig

if TYPE_CHECKING:
    from launch.config import CampaignConfig
    from launch.graph import Phase
    from launch.run_folder import RunFolder


class Watching(Protocol):
    """watch.Watch."""

    def close(self, final: bool = True) -> None: ...


class _Nobody:
    """Where nobody is to be told."""

    def close(self, final: bool = True) -> None:
        return None


def watch(run: "RunFolder", config: "CampaignConfig", phase: "Phase | None" = None) -> Watching:
    """Send alerts from now on until it is closed, beside the work. phase: only this one's; None: the whole campaign's."""
    if not config.cluster.alerts.asked:
        return _Nobody()
    from launch.alerts.watch import Watch

    return Watch(run, config, phase)


def ask_for_person(run: "RunFolder", config: "CampaignConfig", text: str, when: float) -> None:
    """Send at once that a person is needed, and why. when: as alert.json has it. Takes at most half a minute; never raises."""
    if config.cluster.alerts.asked:
        from launch.alerts.watch import send_request

        send_request(run, config, text, when)


__all__ = ["AlertsConfig", "Watching", "ask_for_person", "watch"]
