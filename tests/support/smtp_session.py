"""One connection of the fault server: the SMTP dialogue byte by byte (RFC 5321), with faults where scripted."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from typing import TYPE_CHECKING, cast

from tests.support.smtp_script import Mail, Moment, Reply

if TYPE_CHECKING:
    from tests.support.smtp_server import SmtpServer

_MESSAGE_ID = re.compile(rb"(?im)^message-id:[ \t]*(?:\r\n[ \t]+)?([^\r\n]*)")
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n)")
_OK = Reply()


class Session(asyncio.Protocol):
    def __init__(self, server: SmtpServer) -> None:
        self.server = server
        self.number = 0
        self.mail_number = 1
        self.buffer = bytearray()
        self.busy = self.in_mail = self.in_data = self.secure = False
        self.auth_step: list[str] = []
        self.mail_from = self.mail_options = ""
        self.recipients: list[str] = []
        self.idle: asyncio.TimerHandle | None = None
        self.transport: asyncio.Transport | None = None

    # -- connection ---------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        server, script = self.server, self.server.script
        self.secure = script.implicit_tls
        server.connections += 1
        self.number = server.connections
        if script.max_connections is not None and len(server.open) >= script.max_connections:
            server.refused_connections += 1
            self._send(Reply(421, "4.7.0 too many connections", close=True))
            return
        server.open.add(self)
        server.most_open = max(server.most_open, len(server.open))
        self._answer("connect", b"", Reply(220, "fault.example ESMTP"))
        server.changed()

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.open.discard(self)
        self._disarm()
        self.transport = None
        self.server.changed()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        self._disarm()
        self.buffer += data
        self._work()

    def _work(self) -> None:
        while not self.busy and self.transport is not None and not self.transport.is_closing():
            if self.in_data:
                if not self._take_body():
                    break
                continue
            line, found, rest = self.buffer.partition(b"\r\n")
            if not found:
                break
            self.buffer = bytearray(rest)
            self._command(bytes(line))
        if not self.busy:
            self._arm()

    def _arm(self) -> None:
        seconds = self.server.script.idle_421_s
        if seconds is not None and self.transport is not None and not self.in_mail:
            self.idle = asyncio.get_running_loop().call_later(seconds, self.time_out)

    def time_out(self) -> None:
        """Says that the client was idle for too long, and closes."""
        self._send(Reply(421, "4.4.2 Error: timeout exceeded", close=True))

    def _disarm(self) -> None:
        if self.idle is not None:
            self.idle.cancel()
            self.idle = None

    # -- replies ------------------------------------------------------------------------------------------------

    def _answer(self, phase: str, argument: bytes, usual: Reply) -> Reply:
        """Sends the scripted or the usual reply and returns it."""
        moment = Moment(phase, self.number, self.mail_number, argument)
        reply = self.server.script.reply_at(moment) or usual
        if reply.delay_s:
            self.busy = True
            asyncio.get_running_loop().call_later(reply.delay_s, self._send_late, reply)
        else:
            self._send(reply)
        return reply

    def _send_late(self, reply: Reply) -> None:
        self.busy = False
        self._send(reply)
        self._work()

    def _send(self, reply: Reply) -> None:
        if self.transport is None or self.transport.is_closing():
            return
        if reply.drop:
            self.transport.close()
            return
        self.transport.write(reply.wire())
        if reply.close:
            self.transport.close()

    # -- commands -----------------------------------------------------------------------------------------------

    def _command(self, line: bytes) -> None:
        if self.server.script.keep_data:
            self.server.wire.append((self.number, line))
        if self.auth_step:
            self._auth_answer(line)
        else:
            verb, _, argument = line.partition(b" ")
            handler = getattr(self, "_on_" + verb.decode("ascii", "replace").lower(), None)
            if handler is None:
                self._send(Reply(500, "5.5.1 unknown command"))
            else:
                handler(argument)
        self.server.changed()

    def _on_ehlo(self, argument: bytes) -> None:
        script = self.server.script
        lines = ["fault.example", *script.extensions]
        if script.tls is not None and not self.secure:
            lines.append("STARTTLS")
        if script.users or script.tokens:
            lines.append("AUTH " + script.auth_methods)
        self._answer("ehlo", argument, Reply(250, "\n".join(lines)))

    def _on_helo(self, argument: bytes) -> None:
        self._answer("helo", argument, Reply(250, "fault.example"))

    def _on_starttls(self, argument: bytes) -> None:
        reply = self._answer("starttls", argument, Reply(220, "2.0.0 go ahead"))
        if reply.code == 220 and not reply.drop and self.transport is not None:
            self.transport.pause_reading()
            self.secure = self.busy = True
            task = asyncio.get_running_loop().create_task(self._upgrade(self.transport))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _upgrade(self, transport: asyncio.Transport) -> None:
        context = self.server.script.tls
        assert context is not None
        encrypted = await asyncio.get_running_loop().start_tls(transport, self, context, server_side=True)
        self.transport = cast(asyncio.Transport, encrypted)
        self.busy = False  # what the client said meanwhile waits in the buffer
        self._work()

    def _on_auth(self, argument: bytes) -> None:
        method, _, initial = argument.decode().partition(" ")
        if method.upper() == "LOGIN" and not initial:
            self.auth_step = ["LOGIN-USER"]
            self._send(Reply(334, "VXNlcm5hbWU6"))
        elif method.upper() == "LOGIN":
            self.auth_step = ["LOGIN", initial]
            self._send(Reply(334, "UGFzc3dvcmQ6"))
        elif method.upper() == "PLAIN":
            _, user, password = base64.b64decode(initial).decode().split("\0")
            self._finish_auth(self.server.script.users.get(user) == password)
        else:
            fields = dict(part.partition("=")[::2] for part in base64.b64decode(initial).decode().split("\x01") if part)
            token = self.server.script.tokens.get(fields["user"])
            if fields["auth"] == f"Bearer {token}":
                self._finish_auth(True)
            else:
                self.auth_step = ["XOAUTH2-ERROR"]
                self._send(Reply(334, "eyJzdGF0dXMiOiI0MDAifQ=="))

    def _auth_answer(self, line: bytes) -> None:
        step, *values = self.auth_step
        self.auth_step = []
        if step == "XOAUTH2-ERROR":
            wrong_line = Reply(501, "5.5.4 an empty line was due")
            self._send(Reply(535, "5.7.8 Username and Password not accepted") if line == b"" else wrong_line)
        elif step == "LOGIN-USER":
            self.auth_step = ["LOGIN", line.decode()]
            self._send(Reply(334, "UGFzc3dvcmQ6"))
        else:
            user, password = (base64.b64decode(part).decode() for part in (values[0], line))
            self._finish_auth(self.server.script.users.get(user) == password)

    def _finish_auth(self, good: bool) -> None:
        self._answer("auth", b"", Reply(235, "2.7.0 welcome") if good else Reply(535, "5.7.8 bad credentials"))

    def _on_mail(self, argument: bytes) -> None:
        limit = self.server.script.close_after_mails
        over = limit is not None and self.mail_number > limit
        usual = Reply(421, "4.7.0 quota of this connection used up", close=True) if over else _OK
        path, _, options = argument.decode("utf-8", "replace").partition(" ")
        self.in_mail = self._answer("mail", argument, usual).code == 250
        if self.in_mail:
            self.mail_from, self.mail_options, self.recipients = path[6:].rstrip(">"), options, []

    def _on_rcpt(self, argument: bytes) -> None:
        recipient = argument.decode("utf-8", "replace").partition(" ")[0][4:].rstrip(">")
        usual = (self._greylisted(recipient) or _OK) if self.in_mail else Reply(503, "5.5.1 MAIL first")
        if self._answer("rcpt", argument, usual).code == 250:
            self.recipients.append(recipient)

    def _greylisted(self, recipient: str) -> Reply | None:
        wait_s = self.server.script.greylist_s
        if wait_s is None:
            return None
        now, key = time.monotonic(), (self.mail_from, recipient)
        first = self.server.first_seen.setdefault(key, now)
        return Reply(450, "4.2.0 greylisted, try later") if first == now or now - first < wait_s else None

    def _on_data(self, argument: bytes) -> None:
        usual = Reply(354, "go ahead") if self.recipients else Reply(503, "5.5.1 RCPT first")
        self.in_data = self._answer("data", argument, usual).code == 354

    def _take_body(self) -> bool:
        end, length = self.buffer.find(b"\r\n.\r\n"), 5
        if self.buffer.startswith(b".\r\n"):  # a lone dot: no content at all
            end, length = 0, 3
        if self.server.script.lenient_end and (loose := self.buffer.find(b"\n.\r\n")) >= 0:
            end, length = loose, 4
        if end < 0:
            return False
        data = bytes(self.buffer[: end + {5: 2, 4: 1, 3: 0}[length]])
        self.buffer = bytearray(self.buffer[end + length :])
        self.in_data = False
        number = self.mail_number
        taken = Reply(250, f"2.0.0 queued as {self.number}-{number}")
        reply = self._answer("body", b"", taken if self.recipients else Reply(554, "5.5.1 no valid recipients"))
        self.mail_number += 1
        if reply.store or (200 <= reply.code < 300 and not reply.drop):
            self._record(data)
        self.recipients, self.in_mail = [], False
        self.server.changed()
        return True

    def _record(self, data: bytes) -> None:
        keep = self.server.script.keep_data
        found = _MESSAGE_ID.search(data)
        if data.startswith(b".") or b"\n." in data:
            data = re.sub(rb"(?m)^\.", b"", data)
        self.server.record(
            Mail(
                monotonic_s=time.monotonic(),
                wall_s=time.time(),
                connection=self.number,
                mail_from=self.mail_from,
                mail_options=self.mail_options,
                recipients=tuple(self.recipients),
                data=data if keep else b"",
                message_id=found[1].decode("utf-8", "replace").strip() if found else "",
                bare_breaks=len(_BARE.findall(data)) if keep else 0,
            )
        )

    def _on_rset(self, argument: bytes) -> None:
        self.recipients, self.in_mail = [], False
        self._answer("rset", argument, _OK)

    def _on_noop(self, argument: bytes) -> None:
        self._answer("noop", argument, _OK)

    def _on_quit(self, argument: bytes) -> None:
        self._answer("quit", argument, Reply(221, "2.0.0 bye", close=True))
