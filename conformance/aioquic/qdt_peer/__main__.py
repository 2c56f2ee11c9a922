"""The command line: each command writes one JSON object a line for what happened, and exits 0 when all of it was right.

  selftest FOLDER                            the recorded vectors
  ping --server H:P --token-file F [...]     a session, echo requests of the given sizes, the end
"""

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path

from . import selftest
from .connection import Client, Ended, dial
from .session import NoAnswer, Refusal, Session, open_session

_H3_DATAGRAM = 0x33
_KEEP_ALIVE = 10.0


def say(event: str, **fields: object) -> None:
    """One line of progress. Tokens and keys are never among the fields."""
    print(json.dumps({"event": event, **fields}), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="qdt-aioquic", description="A QDT client on aioquic, for tests.")
    commands = parser.add_subparsers(dest="command", required=True)
    vectors = commands.add_parser("selftest", help="hold the recorded vectors against this peer")
    vectors.add_argument("folder", type=Path)
    ping = commands.add_parser("ping", help="open a session and send echo requests to the gateway")
    ping.add_argument("--server", required=True, help="host:port; IPv6 addresses in brackets")
    ping.add_argument("--token-file", required=True, type=Path, help="the token, without a line break at its end")
    ping.add_argument("--sizes", default="84", help="bytes of the echo requests, with commas between them")
    ping.add_argument("--mtu", default=1350, type=int, help="the mtu that is asked for")
    ping.add_argument("--within", default=5.0, type=float, help="seconds that each reply may take")
    ping.add_argument("--early", default=0, type=int, help="datagrams sent before the server has answered")
    ping.add_argument("--misbehave", action="store_true", help="send what a server must drop, then ping once more")
    ping.add_argument("--again", action="store_true", help="ask for a second session on the same connection")
    ping.add_argument("--hold", action="store_true", help="keep the session until SIGTERM")
    return parser.parse_args()


async def _ping(arguments: argparse.Namespace) -> None:
    host, _, port = arguments.server.rpartition(":")
    token = arguments.token_file.read_bytes()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with asyncio.timeout(30 + arguments.within * (arguments.sizes.count(",") + 2)) as patience:
        async with dial(host.strip("[]"), int(port)) as client:
            say("connected", alpn="h3", h3_datagram=(client.server_settings() or {}).get(_H3_DATAGRAM))
            session = await open_session(client, arguments.server, token, arguments.mtu, arguments.early)
            shown = {name: value for name, value in session.response.items() if name not in ("server_nonce", "resume")}
            say("session", **shown)
            await _use(session, arguments)
            if arguments.again:
                await _again(client, arguments, token, session)
            if arguments.hold:
                patience.reschedule(None)
                say("holding")
                await _hold(client, stop)
            say(
                "end",
                refused=session.refused,
                fragments=session.opener.fragments,
                request_open=client.request_is_open(session.stream),
            )
    say("closed")


async def _use(session: Session, arguments: argparse.Namespace) -> None:
    for size in map(int, arguments.sizes.split(",")):
        pong = await session.ping(size, arguments.within)
        say("pong", size=size, **vars(pong))
    if arguments.misbehave:
        say("misbehaved", expected=session.misbehave())
        pong = await session.ping(84, arguments.within)
        say("pong", size=84, **vars(pong))


async def _again(client: Client, arguments: argparse.Namespace, token: bytes, first: Session) -> None:
    """A second request on a connection that has its session: refused, and the first session goes on."""
    try:
        await open_session(client, arguments.server, token, arguments.mtu)
    except Refusal as refusal:
        say("refused_again", status=refusal.answer.status, body=refusal.answer.body.decode(errors="replace"))
    pong = await first.ping(84, arguments.within)
    say("pong", size=84, **vars(pong))


async def _hold(client: Client, stop: asyncio.Event) -> None:
    """Keeps the connection alive until told to stop. Raises Ended when it ends before."""
    waits = [asyncio.ensure_future(event) for event in (stop.wait(), client.wait_closed())]
    try:
        while not (await asyncio.wait(waits, timeout=_KEEP_ALIVE, return_when=asyncio.FIRST_COMPLETED))[0]:
            await client.ping()
    finally:
        for wait in waits:
            wait.cancel()
    if client.ended is not None:
        raise Ended(f"the connection has ended: {client.ended}")


def main() -> int:
    """Runs one command; the exit code is 0 when everything was right, 1 when not, 2 for a wrong command line."""
    arguments = _arguments()
    try:
        if arguments.command == "selftest":
            for name, count in selftest.run(arguments.folder).items():
                say("vectors", file=name, cases=count)
        else:
            asyncio.run(_ping(arguments))
    except Refusal as refusal:
        answer = refusal.answer
        say("refused", status=answer.status, headers=dict(answer.headers), body=answer.body.decode(errors="replace"))
        return 1
    except (selftest.Differs, NoAnswer, Ended, ConnectionError, OSError, TimeoutError, ValueError, KeyError) as wrong:
        say("error", kind=type(wrong).__name__, message=str(wrong))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
