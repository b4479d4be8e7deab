"""The encoding of a table's text: UTF-8, or Windows-1252 as Excel writes it in Western Europe.

It is decided for a file, never row by row: else exactly the rows with umlauts would be read differently.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence

from engine.dataset.sources.place import Place
from engine.dataset.sources.stream import Stream
from engine.protocol.errors import InputError

_LOST = re.compile("[\udc80-\udcff]")
_FOREIGN = re.compile(
    r"[^\W\d_][¢¤¥¦§¨¬¯±¹²³´µ¶¸¼½¾¿¡„‚”“†‡‰ˆ˜™‹›]+[^\W\d_]"  # signs inside a word
    r"|[a-zß-öø-ÿ][À-ÖØ-ÞŠŒŽŸ]|[A-Z][À-ÖØ-ÞŠŒŽŸ][a-z]"  # a capital inside a word
    r"|[¡-ÿŒœŠšŽžŸƒ]{4}"  # a word without a plain letter
    r"|[ÂÃâ][€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ\xa0-¿]"  # a part of UTF-8
    r"|[\x00-\x08\x0e-\x1f]"
)
"""What Windows-1252 makes of other encodings (DOS, Macintosh, Central Europe, damaged UTF-8), and text has not."""

MOST_FOREIGN = 0.02
"""Share of foreign marks among the letters that are not ASCII."""

MOST_ACCENTED = 0.3
"""Share of letters that are not ASCII among all letters; in Cyrillic or Greek text it is nearly all."""


class Encoding:
    """How the lines of a file are decoded; settled when the first one is not UTF-8."""

    def __init__(self, place: Place, note: Callable[[str], None]) -> None:
        self._place = place
        self._note = note
        self._name = ""
        self.damaged = False

    def decoded(self, line: bytes) -> str:
        """A line as text; a byte that cannot be decoded stays as a surrogate, for `damage` to find.

        Raises InputError where the file is in no encoding that is read.
        """
        if self._name != "cp1252":
            try:
                return line.decode()
            except UnicodeDecodeError:
                self._name = self._name or self._settled()
        if self._name == "cp1252":
            return line.decode("cp1252")
        self.damaged = True
        return line.decode(errors="surrogateescape")

    def is_western(self) -> bool:
        """Whether the file is Windows-1252 as a whole, for containers whose other rows can be read if it is not."""
        if not self._name:
            try:
                self._name = self._settled()
            except InputError:
                self._name = "utf-8"
        return self._name == "cp1252"

    def damage(self, cells: Sequence[str]) -> str:
        """Which byte of a row could not be decoded, "" where all could."""
        found = next((match for cell in cells if (match := _LOST.search(cell))), None)
        return f"byte 0x{ord(found[0]) - 0xDC00:02x}" if found else ""

    def _settled(self) -> str:
        if not self._place.again:
            raise self._refused("a pipe is read once, so it cannot be found out")
        text = _Text(self._place)
        if text.multibyte and text.multibyte >= text.invalid:
            return "utf-8"
        if text.multibyte:
            raise self._refused("it mixes UTF-8 and another encoding")
        if not text.is_western:
            raise self._refused("the encoding is not known")
        self._note(f"{self._place.label}: read as Windows-1252, for it is not UTF-8")
        return "cp1252"

    def _refused(self, why: str) -> InputError:
        return InputError(
            f"{self._place.name}: is not UTF-8 text: {why}",
            "convert it with the encoding that it has: iconv -f CP1252 -t UTF-8 (or CP1250, CP1251, MACINTOSH ...)",
        )


class _Text:
    """What a whole file is made of: sequences of UTF-8, bytes that are none, and how it reads as Windows-1252."""

    def __init__(self, place: Place) -> None:
        self.multibyte = self.invalid = 0
        self._ascii = self._accented = self._foreign = 0
        self._undefined = False
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        with Stream(place, lambda _: None) as stream:
            while data := stream.text.read(2**20):
                self._count(decoder.decode(data), data)

    def _count(self, text: str, data: bytes) -> None:
        invalid = len(_LOST.findall(text))
        self.invalid += invalid
        self.multibyte += sum(1 for character in text if character > "\x7f") - invalid
        try:
            western = data.decode("cp1252")
        except UnicodeDecodeError:
            self._undefined = True
            return
        letters = sum(map(str.isalpha, western))
        accented = sum(1 for character in western if character > "\x7f" and character.isalpha())
        self._ascii += letters - accented
        self._accented += accented
        self._foreign += len(_FOREIGN.findall(western))

    @property
    def is_western(self) -> bool:
        """Whether it reads as text of a Western European language."""
        few = self._accented <= MOST_ACCENTED * max(1, self._ascii + self._accented)
        return not self._undefined and few and self._foreign <= MOST_FOREIGN * max(1, self._accented)
