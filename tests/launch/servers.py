"""A web server and a mail server on this machine that keep what they are sent."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Hook:
    """url: where it listens.  got: the JSON of each POST.  answer: its status; 0: it accepts and never answers."""

    url: str = ""
    got: list[dict[str, str]] = field(default_factory=list)
    answer: int = 200
    asked: int = 0
    never: threading.Event = field(default_factory=threading.Event)

    @property
    def texts(self) -> list[str]:
        return [each["text"] for each in self.got]


@contextmanager
def web_server() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            hook.asked += 1
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not hook.answer:
                hook.never.wait(60)
                return
            if hook.answer == 200:
                hook.got.append(json.loads(body))
            self.send_response(hook.answer)
            if hook.answer == 302:
                self.send_header("Location", "/elsewhere")
            self.end_headers()

        def do_GET(self) -> None:  # what a redirected POST would become
            self.send_response(200)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook.url = f"http://127.0.0.1:{server.server_address[1]}/services/T0/s3cret"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield hook
    finally:
        hook.never.set()
        server.shutdown()
        server.server_close()


@dataclass
class Post:
    """place: HOST:PORT.  got: the mails.  refuses: every recipient."""

    place: str = ""
    got: list[EmailMessage] = field(default_factory=list)
    refuses: bool = False


@contextmanager
def mail_server() -> Iterator[Post]:
    """SMTP, as far as smtplib speaks it."""
    post = Post()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(line: str) -> None:
            writer.write(f"{line}\r\n".encode())
            await writer.drain()

        await say("220 here ESMTP")
        while line := (await reader.readline()).decode().strip():
            word = line.split()[0].upper()
            if word == "DATA":
                await say("354 go on")
                lines = []
                while (each := await reader.readline()) not in (b".\r\n", b""):
                    lines.append(each.removeprefix(b".") if each.startswith(b"..") else each)
                mail = message_from_bytes(b"".join(lines), policy=policy.default)
                assert isinstance(mail, EmailMessage)
                post.got.append(mail)
            if word == "QUIT":
                await say("221 until then")
                break
            await say("550 nobody of this name" if word == "RCPT" and post.refuses else "250 well")
        writer.close()

    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(talk, "127.0.0.1", 0))
    post.place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield post
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        server.close()
