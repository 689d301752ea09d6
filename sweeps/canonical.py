"""One byte form for one meaning, so that equal content has an equal digest."""

import hashlib
import json


def digest(value: object) -> str:
    """The SHA-256, in hex, of a JSON value whatever the order of its mappings' keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
