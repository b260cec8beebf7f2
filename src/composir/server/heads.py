"""HEAD for every address that GET reads: the same answer, without its body."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Heads:
    """Lets the application see GET for HEAD; it changes nothing by a GET, so nothing happens that should not."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def bare(message: Message) -> None:
            # The head, Content-Length included, is that of the answer to GET.
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        inner = {**scope, "method": "GET"}
        try:
            await self.app(inner, receive, bare)
        finally:
            if "route" in inner:
                scope["route"] = inner["route"]  # the log and the metrics name requests by it
