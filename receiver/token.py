"""A token's printed form, and what may be shown of it. Pure: program, provider and receiver must agree.

The form is GitHub's (github.blog, 2021-04-05): a prefix that secret scanners can look for, the random part,
and a checksum that tells garbage from a real token without asking anyone.
"""

import re
from hashlib import sha256
from zlib import crc32

PREFIX = "slc_"
SECRET_LENGTH = 43  # letters and digits: 43 * log2(62) = 256 bits
CHECKSUM_LENGTH = 6
FINGERPRINT_LENGTH = 12

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET = re.compile(rf"[0-9A-Za-z]{{{SECRET_LENGTH}}}")
_PRINTED = re.compile(rf"{PREFIX}([0-9A-Za-z]{{{SECRET_LENGTH}}})([0-9A-Za-z]{{{CHECKSUM_LENGTH}}})")


def printed(secret43: str) -> str:
    """The token a sender sees: `slc_`, the 43 letters and digits, and their six-character base62 CRC-32.

    Raises ValueError (without the value in its message) if `secret43` isn't 43 ASCII letters and digits.
    """
    if not _SECRET.fullmatch(secret43):
        raise ValueError(f"a token's secret is {SECRET_LENGTH} ASCII letters and digits")
    return PREFIX + secret43 + _checksum(secret43)


def is_wellformed(token: str) -> bool:
    """Whether `token` could have been made by `printed`: prefix, length, alphabet and checksum are right."""
    match = _PRINTED.fullmatch(token)
    return match is not None and _checksum(match[1]) == match[2]


def digest(token: str) -> str:
    """SHA-256 of the printed token, 64 hex digits: what the registry knows instead of the token."""
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


def fingerprint(hash: str) -> str:
    """The first 12 hex digits of a token's digest: enough to recognise it by, safe to show and log."""
    return hash[:FINGERPRINT_LENGTH]


def _checksum(secret43: str) -> str:
    number = crc32(secret43.encode("ascii"))
    digits = ""
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits
