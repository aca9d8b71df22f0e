"""The token's printed form and its checksum."""

import string
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import token

LETTERS = string.ascii_letters + string.digits
secrets = st.text(LETTERS, min_size=43, max_size=43)


@given(secrets)
def test_what_is_printed_is_wellformed_and_holds_the_secret(secret: str) -> None:
    printed = token.printed(secret)
    assert len(printed) == 4 + 43 + 6
    assert printed.startswith("slc_" + secret)
    assert token.is_wellformed(printed)


def test_the_checksum_is_the_base62_crc32_of_the_secret() -> None:
    def number(digits: str) -> int:
        value = 0
        for digit in digits:
            value = value * 62 + (string.digits + string.ascii_uppercase + string.ascii_lowercase).index(digit)
        return value

    for secret in ("A" * 43, "z" * 43, "0" * 43):
        assert number(token.printed(secret)[-6:]) == zlib.crc32(secret.encode())


def test_the_printed_form_never_changes() -> None:
    """Tokens that are out there must stay valid."""
    assert token.printed("A" * 43) == "slc_" + "A" * 43 + "0DofJ8"


@given(secrets, st.integers(4, 52), st.sampled_from(LETTERS))
def test_one_changed_character_is_noticed(secret: str, position: int, other: str) -> None:
    printed = token.printed(secret)
    changed = printed[:position] + other + printed[position + 1 :]
    assert token.is_wellformed(changed) == (changed == printed)


@given(st.one_of(st.text(), st.text(LETTERS).map(lambda text: "slc_" + text)))
def test_garbage_is_told_and_never_raises(garbage: str) -> None:
    assert token.is_wellformed(garbage) in (True, False)
    assert len(token.digest(garbage)) == 64


@pytest.mark.parametrize("wrong", ["", "slc_", "é" * 43, "٣" * 43, "A" * 42, "A" * 44, "A" * 43 + "\n", " " + "A" * 42])
def test_a_secret_of_another_shape_is_refused_without_being_quoted(wrong: str) -> None:
    assert not token.is_wellformed("slc_" + wrong + "0DofJ8")
    with pytest.raises(ValueError, match="43 ASCII letters and digits") as refused:
        token.printed(wrong)
    assert not wrong.strip() or wrong not in str(refused.value) or wrong == "slc_"


def test_the_fingerprint_is_the_start_of_the_digest() -> None:
    digest = token.digest(token.printed("A" * 43))
    assert digest == "ab34570184d8a9434f864a39023c442f939ebb1c2a3c8397596107d25d36a4d2"
    assert token.fingerprint(digest) == "ab34570184d8"
