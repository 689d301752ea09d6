"""Random streams addressed by what they are for, never drawn one after the other.

A number drawn for (seed, purpose, step) is the same whoever else trains beside that seed, whether
the run was resumed, and on which machine: the address is hashed (BLAKE2b) into the 128-bit key of
a Philox 4x64 counter generator. The step selects a block of the counter, so consecutive steps of
one purpose share a key and can never overlap.
"""

import hashlib

import numpy as np

_STEP_LIMIT = 2**64
_SEED_BYTES = 8
_KEY_BITS = 63


def _digest(seed: int, purpose: str, size: int) -> bytes:
    """Hash a stream's address to `size` bytes."""
    if not 0 <= seed < 2 ** (8 * _SEED_BYTES):
        raise ValueError(f"seed must lie in 0..2^64-1, not {seed}")
    address = seed.to_bytes(_SEED_BYTES, "little") + purpose.encode()
    return hashlib.blake2b(address, digest_size=size, person=b"ngpu stream").digest()


def _checked_step(step: int) -> int:
    if not 0 <= step < _STEP_LIMIT:
        raise ValueError(f"step must lie in 0..2^64-1, not {step}")
    return step


def stream(seed: int, purpose: str, step: int = 0) -> np.random.Generator:
    """Open the stream of one seed for one purpose at one step.

    Args:
        seed: the seed run's seed, 0..2^64-1.
        purpose: what the numbers are for, e.g. "train badd" or "dropout".
        step: which step (or batch) of that purpose, 0..2^64-1.

    Returns:
        A generator at the start of its block of 2^192 counter values.
    """
    words = np.frombuffer(_digest(seed, purpose, 16), dtype="<u8").astype(np.uint64)
    # The lowest counter words advance while drawing; the top word is the step's own.
    counter = np.array([0, 0, 0, _checked_step(step)], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(counter=counter, key=words))


def key(seed: int, purpose: str, step: int = 0) -> int:
    """Give the same address as a 63-bit integer, for generators that take one (torch).

    Args:
        seed: the seed run's seed, 0..2^64-1.
        purpose: what the numbers are for.
        step: which step (or batch) of that purpose.

    Returns:
        An integer in 0..2^63-1.
    """
    address = _checked_step(step).to_bytes(8, "little") + _digest(seed, purpose, 32)
    digest = hashlib.blake2b(address, digest_size=8, person=b"ngpu key").digest()
    return int.from_bytes(digest, "little") >> (64 - _KEY_BITS)
