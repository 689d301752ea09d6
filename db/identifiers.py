"""Ids of sweeps: 26 characters that sort by the time they were made."""

import secrets
import time

# Crockford's base 32: no I, L, O, U, so an id can be read out loud.
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH = 26
_RANDOM_BITS = 80


def new_id() -> str:
    """48 bits of milliseconds since 1970, then 80 random bits, as 26 base-32 characters."""
    milliseconds = time.time_ns() // 1_000_000
    number = (milliseconds << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
    digits = (_ALPHABET[(number >> (5 * place)) & 31] for place in reversed(range(_LENGTH)))
    return "".join(digits)
