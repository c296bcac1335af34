"""A summary's text, piece by piece, from its tokens as they are written.

A token is no text by itself: it may be half a character, a space that is taken away at the end, or the sign that pulls
the word before it nearer. A piece is given once it is certain.
"""

from __future__ import annotations

from collections.abc import Sequence

from kilowit.parts.text_codec import TextCodec


class TextStream:
    """The text of one summary. All pieces, put together, are what `TextCodec.decode` makes of the whole row."""

    def __init__(self, codec: TextCodec) -> None:
        self._codec = codec
        self._tokens: list[int] = []
        self._num_given = 0

    def add(self, tokens: Sequence[int]) -> str:
        """Return the text that further tokens make certain; it may be empty."""
        self._tokens.extend(tokens)
        return self._give(self._codec.decode_begun(self._tokens))

    def finish(self, text: str) -> str:
        """Return what is left of the whole text."""
        return self._give(text)

    def _give(self, text: str) -> str:
        piece = text[self._num_given :]
        self._num_given = max(self._num_given, len(text))
        return piece
