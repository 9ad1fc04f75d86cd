"""The words by which predictions can be found, such as the name of a passenger."""

import re
import unicodedata

WORD_MAX = 64
_WORD = re.compile(r"\w+")


def words_of(text: str) -> list[str]:
    """The distinct words of a text as they are stored and looked for: without case and accents, ≤ 64."""
    plain = unicodedata.normalize("NFKD", text).casefold()
    letters = "".join(character for character in plain if not unicodedata.combining(character))
    return list(dict.fromkeys(word[:WORD_MAX] for word in _WORD.findall(letters)))
