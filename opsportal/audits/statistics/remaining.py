"""How many errors may be left where nobody has looked."""

from scipy import stats


def most_left(pool: int, looked: int, hits: int, *, confidence: float = 0.95) -> int:
    """Exact upper bound for the errors left among the pool − looked items that nobody looked at.

    pool: items of the remainder, before the look. looked: of them, drawn at random and labelled, 1–pool.
    hits: errors among those, 0–looked. The largest K (errors in the pool) for which so few hits still have a
    chance of 1 − confidence, less the hits. Hypergeometric; Buonaccorsi, American Statistician 41, 1987.
    Raises ValueError for counts that cannot be.
    """
    if not 0 <= hits <= looked <= pool or looked < 1:
        raise ValueError("There must be a look at some of the pool, and no more hits than looks.")
    low, high = hits, pool - looked + hits
    # The chance of so few hits falls as errors rise.
    while low < high:
        middle = (low + high + 1) // 2
        if stats.hypergeom.cdf(hits, pool, middle, looked) >= 1 - confidence:
            low = middle
        else:
            high = middle - 1
    return low - hits
