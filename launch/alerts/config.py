"""Where alerts go: `cluster.alerts` of a campaign or a cluster file. It decides no result, and is in no fingerprint."""

import re
from pathlib import Path
from typing import Any, Self

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from mlseg_core.config import Strict

_ADDRESS = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"[^\s:/@]+(:\d{1,5})?")


class AlertsConfig(Strict):
    """Nothing set: no alerts. A webhook's address is a secret, so that it is named here and never written down."""

    mail: str | tuple[str, ...] = ()
    """One address, or a list."""
    smtp: str | None = None
    """HOST or HOST:PORT of a mail server; null: this machine's `sendmail`, or else the mail server on localhost."""
    webhook_env: str | None = None
    """The environment variable that holds the webhook's URL. Jobs inherit it from where `mlseg run` is typed."""
    webhook_file: str | None = None
    """A file that holds the URL; an absolute path, or one that begins with ~."""

    @model_serializer(mode="wrap")
    def _set_ones(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what is not set: the frozen code of earlier runs does not know it."""
        return {key: value for key, value in dump(self).items() if value}

    @model_validator(mode="after")
    def _well_formed(self) -> Self:
        """No message repeats a webhook's value: somebody may have put the URL itself there."""
        for address in self.addresses:
            if not _ADDRESS.fullmatch(address):
                raise ValueError(f"{address!r} is not one mail address")
        if self.smtp is not None and not _HOST.fullmatch(self.smtp):
            raise ValueError("smtp is HOST or HOST:PORT")
        if self.smtp is not None and not self.mail:
            raise ValueError("smtp without mail: name an address")
        if self.webhook_env is not None and not _VARIABLE.fullmatch(self.webhook_env):
            raise ValueError("webhook_env is the name of an environment variable that holds the URL, not the URL")
        if self.webhook_file is not None and not Path(self.webhook_file).expanduser().is_absolute():
            raise ValueError("webhook_file is the path of a file that holds the URL, absolute or from ~")
        if self.webhook_env is not None and self.webhook_file is not None:
            raise ValueError("webhook_env and webhook_file are both set: use one")
        return self

    @property
    def addresses(self) -> tuple[str, ...]:
        return (self.mail,) if isinstance(self.mail, str) else self.mail

    @property
    def asked(self) -> bool:
        """True when somebody is to be told."""
        return bool(self.mail or self.webhook_env or self.webhook_file)
