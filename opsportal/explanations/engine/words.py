"""Which words of a text a vectorizer's terms stand for, and what each word's share of them is."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple


def share_among_words(vectorizer: Any, text: str, terms: Mapping[int, float]) -> list[list[Any]]:
    """The terms' contributions given to the words of the text: [[start, end, contribution], …].

    A term that occurs several times is shared equally by its occurrences, an n-gram equally by its words.
    Offsets are those of `text` as it was logged, also where lower case or stripped accents are longer or
    shorter. Empty where nobody can tell: for a tokenizer of one's own, or terms that are hashes.
    """
    vocabulary = getattr(vectorizer, "vocabulary_", None)
    prepared = _prepared(vectorizer, text)
    if prepared is None or vocabulary is None:
        return []
    found: dict[int, list[Sequence[_Word]]] = {}
    for gram, words in _grams(vectorizer, prepared):
        term = vocabulary.get(gram)
        if term is not None and words and term in terms:
            found.setdefault(int(term), []).append(words)
    return [
        [prepared.owners[word.start], prepared.owners[word.end - 1] + 1, share]
        for term, occurrences in found.items()
        for words in occurrences
        for share in [terms[term] / len(occurrences) / len(words)]
        for word in words
    ]


class _Word(NamedTuple):
    """Where a word stands in the prepared text."""

    token: str
    start: int
    end: int


class _Prepared(NamedTuple):
    """The text as the vectorizer reads it; owners: for each letter its place in the text as it was logged."""

    text: str
    owners: Sequence[int]


def _prepared(vectorizer: Any, text: str) -> _Prepared | None:
    """The text in lower case or without accents; None where the vectorizer has a reading of its own."""
    if vectorizer.tokenizer is not None or callable(vectorizer.analyzer):
        return None
    prepare = vectorizer.build_preprocessor()
    prepared = prepare(text)
    if text.isascii() and len(prepared) == len(text):
        return _Prepared(prepared, range(len(text)))
    owners = [place for place, letter in enumerate(text) for _ in prepare(letter)]
    return _Prepared(prepared, owners) if len(owners) == len(prepared) else None


def _grams(vectorizer: Any, prepared: _Prepared) -> Iterator[tuple[str, Sequence[_Word]]]:
    """Every n-gram, as scikit-learn makes them, with the words that it is made of."""
    shortest, longest = vectorizer.ngram_range
    lengths = range(shortest, longest + 1)
    if vectorizer.analyzer == "word":
        return _word_grams(lengths, _tokens(vectorizer, prepared.text))
    words = [_Word(match[0], *match.span()) for match in re.finditer(r"\S+", prepared.text)]
    if vectorizer.analyzer == "char_wb":
        return _letters_within(lengths, words)
    return _letters_across(lengths, words, prepared.text)


def _tokens(vectorizer: Any, text: str) -> list[_Word]:
    stops = vectorizer.get_stop_words() or ()
    # With a group in the pattern, the group is the word.
    matches = [(match, match.re.groups) for match in re.finditer(vectorizer.token_pattern, text)]
    words = [_Word(match[which], *match.span(which)) for match, which in matches]
    return [word for word in words if word.token and word.token not in stops]


def _word_grams(lengths: range, words: Sequence[_Word]) -> Iterator[tuple[str, Sequence[_Word]]]:
    for length in lengths:
        for start in range(len(words) - length + 1):
            part = words[start : start + length]
            yield " ".join(word.token for word in part), part


def _letters_within(lengths: range, words: Sequence[_Word]) -> Iterator[tuple[str, Sequence[_Word]]]:
    for word in words:
        padded = f" {word.token} "
        for length in lengths:
            # A word that is no longer than the n-gram counts once.
            for start in range(max(len(padded) - length, 0) + 1):
                yield padded[start : start + length], [word]
            if length >= len(padded):
                break


def _letters_across(
    lengths: range, words: Sequence[_Word], text: str
) -> Iterator[tuple[str, Sequence[_Word]]]:
    """Runs of white space are one space to the vectorizer, and belong to no word."""
    owner: dict[int, _Word | None] = dict.fromkeys(range(len(text)))
    owner |= {place: word for word in words for place in range(word.start, word.end)}
    runs = {place for match in re.finditer(r"\s\s+", text) for place in range(match.start() + 1, match.end())}
    runs_begin = {match.start() for match in re.finditer(r"\s\s+", text)}
    letters = [
        (" " if place in runs_begin else letter, owner[place])
        for place, letter in enumerate(text)
        if place not in runs
    ]
    for length in lengths:
        for start in range(len(letters) - length + 1):
            part = letters[start : start + length]
            yield (
                "".join(letter for letter, _ in part),
                list(dict.fromkeys(word for _, word in part if word is not None)),
            )
