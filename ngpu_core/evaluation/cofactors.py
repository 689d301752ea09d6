"""Pairs of numbers whose product is one less than a power: exact, by cyclotomic factors."""

from functools import cache
from math import prod


@cache
def cyclotomic(base: int, order: int) -> int:
    """Φ_order(base): what b^order - 1 has beyond the same of order's proper divisors."""
    divisors = [d for d in range(1, order) if order % d == 0]
    return (base**order - 1) // prod(cyclotomic(base, d) for d in divisors)


@cache
def cofactor_pairs(base: int, exponent: int) -> tuple[tuple[int, int], ...]:
    """Pairs (a, b), a <= b, with a · b = base^exponent - 1, by their smaller factor.

    All that can be put together from the cyclotomic factors, 1 · (base^exponent - 1) included.
    """
    whole = base**exponent - 1
    products = {1}
    for order in range(1, exponent + 1):
        if exponent % order == 0:
            factor = cyclotomic(base, order)
            products |= {product * factor for product in products}
    return tuple((a, whole // a) for a in sorted(products) if a * a <= whole)
