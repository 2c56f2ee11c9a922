"""The key schedule and the text form of nonces.

Keys are never printed: the classes have no representation of their own fields.
"""

import base64
import re

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

NONCE_BYTES = 16
_INFO = b"qdt-aead-v1"


class DirectionKeys:
    """Key (32 bytes) and nonce prefix (4 bytes) of one direction."""

    def __init__(self, key: bytes, prefix: bytes) -> None:
        self.key = key
        self.prefix = prefix


class SessionKeys:
    """The keys of both directions: `client` seals what the client sends, `server` what the server sends."""

    def __init__(self, token: bytes, client_nonce: bytes, server_nonce: bytes) -> None:
        """Derives them. Raises ValueError where a nonce has not 16 bytes or the token is empty."""
        if not token:
            raise ValueError("the token is empty")
        if len(client_nonce) != NONCE_BYTES or len(server_nonce) != NONCE_BYTES:
            raise ValueError(f"nonces have {len(client_nonce)} and {len(server_nonce)} bytes, both must have 16")
        okm = HKDF(algorithm=SHA256(), length=72, salt=client_nonce + server_nonce, info=_INFO).derive(token)
        self.client = DirectionKeys(okm[0:32], okm[64:68])
        self.server = DirectionKeys(okm[32:64], okm[68:72])


def nonce_to_text(nonce: bytes) -> str:
    """Standard base64 without padding: 22 characters."""
    return base64.b64encode(nonce).rstrip(b"=").decode()


def nonce_from_text(text: str) -> bytes:
    """The bytes of a nonce text. Line breaks are skipped; padding and other alphabets raise ValueError."""
    text = text.replace("\r", "").replace("\n", "")
    if not re.fullmatch(r"[A-Za-z0-9+/]*", text) or len(text) % 4 == 1:
        raise ValueError("not unpadded standard base64")
    return base64.b64decode(text + "=" * (-len(text) % 4))
