"""alerts: whether mail and webhook can be tried from here. Sends nothing; never a reason not to start."""

from collections.abc import Iterator

from launch.alerts.channels import DeliveryError, Mail, Webhook, channels_of
from launch.preflight.finding import Finding
from launch.preflight.site import Site


def alerts(site: Site) -> Iterator[Finding]:
    """One row a way."""
    config = site.config.cluster.alerts
    if not config.asked:
        yield Finding("alerts", "skipped", "cluster.alerts names nobody (docs/status.md)")
    for channel in channels_of(config):
        if isinstance(channel, Mail):
            yield Finding("alerts: mail", "ok", f"to {', '.join(config.addresses)}, from here by {channel.way}")
        elif isinstance(channel, Webhook):
            yield _webhook(channel)


def _webhook(channel: Webhook) -> Finding:
    try:
        channel.address()
    except DeliveryError as error:
        return Finding("alerts: webhook", "warning", str(error), "Put the webhook's URL there.")
    return Finding("alerts: webhook", "ok", f"its address is in {channel.where}")
