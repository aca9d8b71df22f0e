"""Customer.io's signature, by computed vectors; over HTTP in test_answers.py."""

import pytest

from receiver.signature import Check, is_valid
from tests.receiver.test_answers import VECTORS


@pytest.mark.parametrize(("key", "timestamp", "body", "signature"), VECTORS)
def test_the_vectors_are_valid_and_nothing_near_them(key: str, timestamp: str, body: bytes, signature: str) -> None:
    assert is_valid([key], timestamp, body, signature)
    assert is_valid(["other", key], timestamp, body, signature)
    assert not is_valid([], timestamp, body, signature)
    assert not is_valid(["", "other"], timestamp, body, signature)
    assert not is_valid([key], timestamp + " ", body, signature)
    assert not is_valid([key], "", body, signature)
    assert not is_valid([key], timestamp, body.replace(b" ", b"") + b" ", signature)
    for wrong in ("", signature[:-1], signature + "0", "v0=" + signature, signature.upper(), "é" * 64, "\udcff"):
        assert not is_valid([key], timestamp, body, wrong)


def test_a_body_may_be_checked_in_pieces() -> None:
    key, timestamp, body, signature = VECTORS[1]
    check = Check([key], timestamp)
    for start in range(0, len(body), 7):
        check.update(body[start : start + 7])
    assert check.accepts(signature)


def test_an_empty_key_signs_nothing() -> None:
    import hashlib
    import hmac

    forged = hmac.new(b"", b"v0:1:body", hashlib.sha256).hexdigest()
    assert not is_valid([""], "1", b"body", forged)
