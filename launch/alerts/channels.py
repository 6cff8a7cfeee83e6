"""The ways an alert leaves the machine: a webhook that takes Slack's JSON, and mail.

Every failure is a DeliveryError in words that hold no address of a webhook, for that is a secret. Each try has a time limit.
"""

import getpass
import json
import os
import shutil
import smtplib
import socket
import subprocess
import urllib.error
import urllib.request
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from launch.alerts.config import AlertsConfig

TIMEOUT_S = 10.0
_SENDMAIL = ("/usr/sbin/sendmail", "/usr/lib/sendmail")
_SMTP_PORT = 25


class DeliveryError(Exception):
    """Why an alert could not be sent this way."""


class Channel(Protocol):
    """name: as it stands in records.  send: one try. Raises DeliveryError."""

    name: str

    def send(self, title: str, text: str) -> None: ...


def channels_of(config: AlertsConfig) -> list[Channel]:
    """Those that are asked for."""
    found: list[Channel] = []
    if config.webhook_env or config.webhook_file:
        found.append(Webhook(config))
    if config.mail:
        found.append(Mail(config))
    return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET, which says nothing to anybody and may well be answered by 200."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


class Webhook:
    """POSTs {"text": ...}."""

    name = "webhook"

    def __init__(self, config: AlertsConfig) -> None:
        self._config = config

    @property
    def where(self) -> str:
        """What holds the address, in words."""
        variable = self._config.webhook_env
        return f"the environment variable {variable}" if variable else str(self._config.webhook_file)

    def address(self) -> str:
        """The URL. Raises DeliveryError."""
        where = self.where
        if self._config.webhook_env:
            url = os.environ.get(self._config.webhook_env, "").strip()
        else:
            try:
                url = Path(where).expanduser().read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                raise DeliveryError(f"{where} cannot be read ({type(error).__name__})") from None
        parts = urlsplit(url) if "\n" not in url else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise DeliveryError(f"{where} holds no http or https address")
        return url

    def send(self, title: str, text: str) -> None:
        body = json.dumps({"text": f"*{_slack(title)}*\n{_slack(text)}"}).encode()
        try:
            request = urllib.request.Request(  # noqa: S310  (address() lets only http and https through)
                self.address(), body, {"Content-Type": "application/json", "User-Agent": "mlseg"}
            )
            urllib.request.build_opener(_NoRedirect).open(request, timeout=TIMEOUT_S).close()
        except urllib.error.HTTPError as error:
            error.close()
            raise DeliveryError(f"the server answered {error.code}") from None
        except urllib.error.URLError as error:
            raise DeliveryError(f"the server cannot be reached ({_kind(error.reason)})") from None
        except (OSError, ValueError) as error:  # an error's own words may hold the address
            raise DeliveryError(f"the server did not answer ({_kind(error)})") from None


def _kind(error: object) -> str:
    """What kind of error it is, and the system's words where it has some."""
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return error.strerror
    return type(error).__name__ if isinstance(error, BaseException) else "no reason given"


def _slack(text: str) -> str:
    """As text, not as a link or a mention."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Mail:
    """Through the mail server that is named, or else this machine's sendmail, or else the mail server on localhost."""

    name = "mail"

    def __init__(self, config: AlertsConfig) -> None:
        self._config = config

    @property
    def way(self) -> str:
        """How it will be sent from here, in words."""
        if self._config.smtp is None and (program := _sendmail()):
            return program
        return f"the mail server on {self._config.smtp or f'localhost:{_SMTP_PORT}'}"

    def send(self, title: str, text: str) -> None:
        message = EmailMessage()
        message["Subject"] = " ".join(f"[mlseg] {title}".split())
        message["From"] = f"{getpass.getuser()}@{socket.getfqdn()}"
        message["To"] = ", ".join(self._config.addresses)
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(text + "\n")
        program = _sendmail() if self._config.smtp is None else None
        try:
            if program is not None:
                subprocess.run(
                    [program, "-t", "-i"], input=bytes(message), capture_output=True, timeout=TIMEOUT_S, check=True
                )
                return
            host, _, port = (self._config.smtp or "localhost").partition(":")
            with smtplib.SMTP(host, int(port or _SMTP_PORT), timeout=TIMEOUT_S) as server:
                server.send_message(message)
        except subprocess.CalledProcessError as error:
            raise DeliveryError(f"{program} ended with status {error.returncode}") from None
        except subprocess.TimeoutExpired:
            raise DeliveryError(f"{program} did not end within {TIMEOUT_S:.0f} s") from None
        except (OSError, smtplib.SMTPException) as error:
            raise DeliveryError(f"{self.way}: {' '.join(str(error).split()) or type(error).__name__}") from None


def _sendmail() -> str | None:
    return shutil.which("sendmail") or next((path for path in _SENDMAIL if os.access(path, os.X_OK)), None)
