"""Porter's stemmer exactly as NLTK's default mode does it, which is what published ROUGE scores are made with.

It stands at the bottom of both ROUGE engines: the pure Python one calls `stem`, the compiled one runs the same
tables on bytes. It differs from Porter's paper and from Perl ROUGE's stemmer in the places marked "NLTK".

Source: M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980; NLTK 3.10 ``PorterStemmer``, mode
``NLTK_EXTENSIONS``. Held equal to NLTK on every word of the test corpora and on random ones.
"""

from __future__ import annotations

from typing import Final

Rules = tuple[tuple[str, str], ...]

# NLTK: forms that the rules get wrong.
IRREGULAR: Final = {
    "sky": "sky", "skies": "sky", "dying": "die", "lying": "lie", "tying": "tie", "news": "news",
    "innings": "inning", "inning": "inning", "outings": "outing", "outing": "outing", "cannings": "canning",
    "canning": "canning", "howe": "howe", "proceed": "proceed", "exceed": "exceed", "succeed": "succeed",
}  # fmt: skip

# The first suffix that matches decides, whether its condition holds or not. Conditions: the stem's measure is
# at least 1 in steps 2 and 3, and 2 in step 4. "logi" and "ion" carry conditions of their own; see below.
STEP_2: Final[Rules] = (
    ("ational", "ate"), ("tional", "tion"), ("enci", "ence"), ("anci", "ance"), ("izer", "ize"), ("bli", "ble"),
    ("alli", "al"), ("entli", "ent"), ("eli", "e"), ("ousli", "ous"), ("ization", "ize"), ("ation", "ate"),
    ("ator", "ate"), ("alism", "al"), ("iveness", "ive"), ("fulness", "ful"), ("ousness", "ous"), ("aliti", "al"),
    ("iviti", "ive"), ("biliti", "ble"), ("fulli", "ful"),
)  # fmt: skip
STEP_3: Final[Rules] = (
    ("icate", "ic"), ("ative", ""), ("alize", "al"), ("iciti", "ic"), ("ical", "ic"), ("ful", ""), ("ness", ""),
)  # fmt: skip
STEP_4: Final[Rules] = tuple(
    (suffix, "")
    for suffix in (
        "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ou", "ism", "ate", "iti",
        "ous", "ive", "ize",
    )
)  # fmt: skip


def stem(word: str) -> str:
    """Return the stem of a lower-case word.

    >>> [stem(w) for w in ("relational", "dies", "flies", "controlling", "enjoy")]
    ['relat', 'die', 'fli', 'control', 'enjoy']
    """
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2:
        return word
    word = _step_1c(_step_1b(_step_1a(word)))
    word = _step_2(word)
    word = _apply(word, _BY_LAST_3, 1)
    return _step_5(_step_4(word))


class _Shapes(dict[int, str]):
    """Translation of letters to v (vowel), c (consonant) or y (as its left neighbour says)."""

    def __missing__(self, key: int) -> str:
        return "c"


_SHAPES: Final = _Shapes({**{ord(letter): "v" for letter in "aeiou"}, ord("y"): "y"})


def _shape(word: str) -> str:
    """Return the word as c and v; y is a vowel after a consonant and a consonant elsewhere."""
    shape = word.translate(_SHAPES)
    if "y" not in shape:
        return shape
    letters: list[str] = []
    for letter in shape:
        is_vowel = letter == "v" or (letter == "y" and bool(letters) and letters[-1] == "c")
        letters.append("v" if is_vowel else "c")
    return "".join(letters)


def _measure(word: str) -> int:
    """Return Porter's m: how often a vowel is followed by a consonant."""
    return _shape(word).count("vc")


def _ends_short(word: str) -> bool:
    """Porter's *o: consonant, vowel, consonant other than w, x, y. NLTK: or just vowel, consonant."""
    shape = _shape(word)
    return (shape.endswith("cvc") and word[-1] not in "wxy") or shape == "vc"


def _step_1a(word: str) -> str:
    if not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-2]  # NLTK: "dies" -> "die"
    if word.endswith("sses"):
        return word[:-2]
    return word if word.endswith("ss") else word[:-1]


def _step_1b(word: str) -> str:
    if word.endswith("ied"):  # NLTK
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    if word.endswith("ed") and "v" in _shape(word[:-2]):
        return _tidy_1b(word[:-2])
    if word.endswith("ing") and "v" in _shape(word[:-3]):
        return _tidy_1b(word[:-3])
    return word


def _tidy_1b(word: str) -> str:
    if word.endswith(("at", "bl", "iz")):
        return word + "e"
    if len(word) >= 2 and word[-1] == word[-2] and _shape(word)[-1] == "c":
        return word if word[-1] in "lsz" else word[:-1]
    return word + "e" if _measure(word) == 1 and _ends_short(word) else word


def _step_1c(word: str) -> str:
    if word.endswith("y") and len(word) > 2 and _shape(word[:-1])[-1] == "c":  # NLTK: after any consonant
        return word[:-1] + "i"
    return word


def _step_2(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:  # NLTK: and once more from the start
        return _step_2(word[:-2])
    if word.endswith("logi"):
        return word[:-1] if _measure(word[:-3]) > 0 else word  # NLTK: the l counts as stem
    return _apply(word, _BY_LAST_2, 1)


def _step_4(word: str) -> str:
    if word.endswith("ion"):
        return word[:-3] if word[-4:-3] in ("s", "t") and _measure(word[:-3]) > 1 else word
    return _apply(word, _BY_LAST_4, 2)


def _step_5(word: str) -> str:
    if word.endswith("e"):
        rest = word[:-1]
        measure = _measure(rest)
        if measure > 1 or (measure == 1 and not _ends_short(rest)):
            word = rest
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word


def _by_last(rules: Rules) -> dict[str, Rules]:
    """Group rules by their suffix's last letter, order kept: most words are dismissed by one look-up."""
    return {last: tuple(rule for rule in rules if rule[0][-1] == last) for last in {suffix[-1] for suffix, _ in rules}}


_BY_LAST_2: Final = _by_last(STEP_2)
_BY_LAST_3: Final = _by_last(STEP_3)
_BY_LAST_4: Final = _by_last(STEP_4)


def _apply(word: str, by_last: dict[str, Rules], min_measure: int) -> str:
    for suffix, replacement in by_last.get(word[-1:], ()):
        if word.endswith(suffix):
            rest = word[: -len(suffix)]
            return rest + replacement if _measure(rest) >= min_measure else word
    return word
