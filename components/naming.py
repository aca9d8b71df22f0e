"""How a display name becomes a schema name. Stitch's rule, so that a team that moves from there finds its
schemas under the names it knows.

The rule (Stitch docs, "Connecting Customer.io", schema name of an integration): dots go, spaces and hyphens
become underscores, parentheses and all other symbols go, letters are lowered; the result is under 50
characters and starts with a letter or an underscore. `$`, which Stitch allows in one place and not in
another, is dropped: the name then needs no quotes in SQL and fits AWS Glue too.

Stitch says nothing about letters outside a-z. Here accents are taken off (`é` is `e`), and a name with a
letter that has no plain form is an error: to drop it would make a name that nobody would look for.
"""

import re
import unicodedata

from components.reserved_words import RESERVED_WORDS

MAX_LENGTH = 49
RESERVED = frozenset({"public", "default", "information_schema"})
RESERVED_PREFIXES = ("pg_", "_sdc", "_sluice")

_VALID = re.compile(r"[a-z_][a-z0-9_]*", re.ASCII)


class SchemaNameError(ValueError):
    """A display name that gives no usable schema name, or a pinned name that isn't one."""


def schema_name(display_name: str) -> str:
    """The schema name of a display name: `Stitch Customer.io` gives `stitch_customerio`.

    Raises SchemaNameError, naming the display name, what was derived from it and the rule that it breaks.
    """
    name: list[str] = []
    unwritable: list[str] = []
    for character in display_name:
        if character.isspace() or character in "-_":
            name.append("_")
        elif character.isalnum():
            plain = unicodedata.normalize("NFD", character)[0].lower()
            (name if plain.isascii() else unwritable).append(plain)
    if unwritable:
        letters = ", ".join(dict.fromkeys(unwritable))
        raise SchemaNameError(
            f"{display_name!r} has letters that a schema name can't hold ({letters}): "
            "give the schema a name of its own with `schema:`"
        )
    derived = "".join(name)
    if not derived:
        raise SchemaNameError(
            f"nothing is left of {display_name!r} for a schema name: it needs at least one letter, a-z"
        )
    try:
        return check(derived)
    except SchemaNameError as error:
        raise SchemaNameError(
            f"{display_name!r} becomes the schema name {error}: change the name, or give the schema one of "
            "its own with `schema:`"
        ) from None


def check(name: str) -> str:
    """Return `name` if it can be a schema's name, or raise SchemaNameError with the rule that it breaks."""
    if not _VALID.fullmatch(name):
        raise SchemaNameError(f"{name!r}, which must start with a letter or an underscore and have only a-z, 0-9 and _")
    if len(name) > MAX_LENGTH:
        raise SchemaNameError(f"{name!r}, which has {len(name)} characters; at most {MAX_LENGTH} are allowed")
    if name in RESERVED or name.startswith(RESERVED_PREFIXES):
        raise SchemaNameError(f"{name!r}, which is reserved")
    if name in RESERVED_WORDS:
        raise SchemaNameError(f"{name!r}, which is a reserved word of SQL, so that every query would have to quote it")
    return name
