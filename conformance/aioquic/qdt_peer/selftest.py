"""The recorded vectors of the Go programs, compared with this peer.

Every case of a file is tried; the first that differs ends the run with its number.
"""

import json
from collections.abc import Callable
from pathlib import Path

from .datagram import Opener, Refused, Sealer, Window
from .keys import SessionKeys, nonce_from_text

_REASONS = {"chacha20poly1305: message authentication failed": "message authentication failed"}


class Differs(Exception):
    """A case that came out otherwise than recorded."""


def _same(what: str, got: object, want: object) -> None:
    if got != want:
        raise Differs(f"{what}: got {got!r}, recorded is {want!r}")


def _keys(case: dict) -> SessionKeys:
    nonces = (bytes.fromhex(case[f"{side}_nonce_hex"]) for side in ("client", "server"))
    return SessionKeys(case["token"].encode(), *nonces)


def _key_schedule(case: dict) -> None:
    if "error" in case:
        nonces = (bytes(case[f"{side}_nonce_len"]) for side in ("client", "server"))
        try:
            SessionKeys(case["token"].encode(), *nonces)
        except ValueError:
            return
        raise Differs(f"keys were derived, recorded is {case['error']!r}")
    keys = _keys(case)
    for side, own in (("client", keys.client), ("server", keys.server)):
        # Truth values, so that a difference does not print the keys.
        _same(f"{side} key is as recorded", own.key == bytes.fromhex(case[f"{side}_key_hex"]), True)
        _same(f"{side} prefix is as recorded", own.prefix == bytes.fromhex(case[f"{side}_nonce_prefix_hex"]), True)


def _datagrams(case: dict) -> None:
    keys = _keys(case)
    own = keys.client if case["direction"] == "client_to_server" else keys.server
    session = int(case["session_id"])
    sealer = Sealer(own, session, case["mtu"], case["first_counter"], case["fragment_id"])
    packet = bytes.fromhex(case["payload_hex"])
    sealed = [datagram.hex() for datagram in sealer.packet(packet)]
    _same("datagrams", sealed, case["datagrams_hex"])
    opener = Opener(own, session)
    opened = [opener.open(bytes.fromhex(datagram)) for datagram in sealed]
    _same("packet", opened[-1], packet)


def _receive_steps(case: dict) -> None:
    keys = _keys(case)
    own = keys.client if case["receiver"] == "server" else keys.server
    opener = Opener(own, int(case["session_id"]), case["max_reassembly_bytes"], case["replay_window"])
    for step in case["steps"]:
        try:
            packet = opener.open(bytes.fromhex(step["datagram_hex"])) or b""
        except Refused as refused:
            want = step.get("error", "no error")
            _same(step["name"], str(refused), _REASONS.get(want, want))
        else:
            _same(step["name"], packet.hex(), step.get("packet_hex", f"refused: {step.get('error')}"))


def _replay(case: dict) -> None:
    window = Window(case["window"])
    for op in case["ops"]:
        counter = int(op["counter"])
        accepted = window.passes(counter)
        if accepted:
            window.mark(counter)
        _same(f"counter {counter}", accepted, op["accepted"])


def _nonce(case: dict) -> None:
    try:
        got = nonce_from_text(case["text"]).hex()
    except ValueError:
        got = None
    _same(repr(case["text"]), got, case.get("bytes_hex") if case["accepted"] else None)


_FILES: dict[str, Callable[[dict], None]] = {
    "key_schedule": _key_schedule,
    "datagrams": _datagrams,
    "receive_steps": _receive_steps,
    "replay": _replay,
    "nonce_base64": _nonce,
}


def run(folder: Path) -> dict[str, int]:
    """How many cases of each file came out as recorded. Raises Differs, or OSError where a file is missing."""
    counts = {}
    for name, check in _FILES.items():
        cases = json.loads((folder / f"{name}.json").read_text())["cases"]
        for number, case in enumerate(cases):
            try:
                check(case)
            except Differs as differs:
                raise Differs(f"{name}.json, case {number}: {differs}") from None
        counts[name] = len(cases)
    return counts
