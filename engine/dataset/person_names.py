"""Names of people, where the words around them say that they are names: a title, a greeting, a signature."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile

Span = tuple[int, int]

_UPPER = (
    "A-Z\u00c0-\u00d6\u00d8-\u00de\u0100\u0106\u010c\u010e\u0118\u011a\u0141\u0143\u015a\u0160\u0179\u017b\u017d"
    "\u0391-\u03a9\u0410-\u042f"
)
_WORD = rf"[{_UPPER}](?:[^\W\d_]|['’.-](?=[^\W\d_])){{1,30}}"
_NAME = (
    rf"{_WORD}(?: (?:(?:von|van|de|der|den|da|di|la|le|del|bin|al) ){{0,2}}(?:{_WORD}|[{_UPPER}]\.(?= {_WORD}))){{0,3}}"
)
_CJK = "[\u4e00-\u9fff]"

_SAID_CUES = (
    "ame is", "ch hei", "m'appelle", "m’appelle", "mon nom est", "nombre es", "e llamo", "i chiamo",
    "nome è", "nome é", "e chamo", "naam is", "еня зовут",
)  # fmt: skip
_SAID = re.compile(
    r"(?:(?:m|M)(?:y (?:full )?name is|ein Name ist|on nom est|i nombre es|e llamo|i chiamo|eu nome é|e chamo|"
    r"ijn naam is)"
    r"|(?:i|I)(?:ch hei(?:ß|ss)e|l mio nome è)|(?:j|J)e m['’]appelle|(?:м|М)еня зовут)[ :]{1,3}"
    rf"({_NAME})"
)
_SAID_CJK = re.compile(
    rf"我(?:的)?名字(?:是|叫) ?({_CJK}{{2,4}})(?!{_CJK})|(?:私の)?名前は ?({_CJK}{{2,6}})(?=です|と申します)"
)
_TITLE = re.compile(
    r"(?:Mr|Mrs|Ms|Mx|Miss|Herr|Herrn|Frau|Fräulein|Monsieur|Madame|Mme|Mlle|Señor|Señora|Sr|Sra|Signor|Signora|Sig|"
    r"Senhor|Senhora|Mevrouw|Meneer|Dhr|Mevr|Dr\.|Prof\.)\.? "
    rf"(?:(?:Dr|Prof|Ing)\.? ){{0,2}}({_NAME})"
)
_GREETED = re.compile(
    r"(?:Dear|Hi|Hello|Hey|Liebe|Lieber|Hallo|Guten Tag|Moin|Cher|Chère|Bonjour|Querido|Querida|Estimado|Estimada|Hola|"
    rf"Caro|Cara|Gentile|Ciao|Prezado|Prezada|Olá|Beste|Hoi) ({_NAME})[ \t]{{0,2}}[,!:\n]"
)
_CLOSED = re.compile(
    r"(?:Kind regards|Best regards|Warm regards|Kindest regards|Warmest regards|Regards|Many thanks|Thanks|"
    r"Best wishes|Warm wishes|Best|Thank you|Sincerely|Yours sincerely|Yours faithfully|Yours truly|Cheers|"
    r"Mit (?:freundlichen|besten|lieben) Gr(?:ü|ue)(?:ß|ss)en|Viele Grü(?:ß|ss)e|Beste Grü(?:ß|ss)e|Liebe Grü(?:ß|ss)e|"
    r"Freundliche Grü(?:ß|ss)e|Herzliche Grü(?:ß|ss)e|Gru(?:ß|ss)|MfG|LG|VG|Cordialement|Bien cordialement|"
    r"Sincères salutations|Saludos|Un saludo|Un cordial saludo|Atentamente|Cordiali saluti|Distinti saluti|Saluti|"
    r"Atenciosamente|Abraços|Met vriendelijke groet|Met vriendelijke groeten|Groet|Groeten)"
    r"(?:, |[,.!]?[ \t]{0,4}(?:\r?\n[ \t]{0,8}){1,3})"
    rf"({_NAME})[ \t]{{0,4}}(?=[\r\n,]|$)"
)
_LINE_START = re.compile(r"(?:^|[\n>\0]|\\n)[ \t]{0,8}$")
_NOBODY = frozenset(
    [
        "sir",
        "madam",
        "sirs",
        "ladies",
        "gentlemen",
        "customer",
        "customers",
        "client",
        "clients",
        "user",
        "users",
        "team",
        "teams",
        "support",
        "all",
        "everyone",
        "everybody",
        "friend",
        "friends",
        "folks",
        "guys",
        "there",
        "world",
        "kitty",
        "hiring",
        "manager",
        "member",
        "members",
        "colleague",
        "colleagues",
        "guest",
        "guests",
        "reader",
        "readers",
        "valued",
        "student",
        "students",
        "parent",
        "parents",
        "service",
        "sales",
        "helpdesk",
        "desk",
        "admin",
        "administrator",
        "the",
        "your",
        "our",
        "company",
        "president",
        "chairman",
        "chair",
        "speaker",
        "secretary",
        "prime",
        "minister",
        "director",
        "editor",
        "committee",
        "department",
        "office",
        "santa",
        "god",
        "diary",
        "lord",
        "doctor",
        "professor",
        "name",
        "names",
        "applicant",
        "candidate",
        "shopper",
        "buyer",
        "seller",
        "subscriber",
        "hr",
        "it",
        "info",
        "kunde",
        "kunden",
        "kundin",
        "kundenservice",
        "kundendienst",
        "vertrieb",
        "herren",
        "damen",
        "doktor",
        "präsident",
        "bundeskanzler",
        "kollege",
        "kollegen",
        "kolleginnen",
        "freunde",
        "zusammen",
        "leute",
        "alle",
        "équipe",
        "service",
        "tous",
        "toutes",
        "cliente",
        "clientes",
        "equipo",
        "equipe",
        "servicio",
        "todos",
        "todas",
        "amigos",
        "amigo",
        "clienti",
        "tutti",
        "assistant",
        "assistent",
        "claude",
        "chatgpt",
        "gpt",
        "siri",
        "alexa",
        "bot",
        "and",
        "und",
        "et",
        "please",
        "thanks",
        "thank",
        "bitte",
        "again",
        "good",
        "this",
        "here",
        "what",
        "how",
        "is",
        "i",
        "we",
        "you",
        "dr",
        "prof",
        "mr",
        "mrs",
        "ms",
        "herr",
        "frau",
        "pepper",
        "not",
        "no",
        "also",
        "from",
        "with",
        "as",
        "if",
        "when",
        "just",
        "so",
        "bye",
        "in",
        "to",
        "for",
        "sent",
        "on",
        "an",
        "a",
        "of",
    ]
)
"""Words that stand where a name may stand."""


def names(text: str) -> Iterator[Span]:
    """Names after "my name is", titles and greetings, and in signatures, in several languages."""
    if any(map(text.__contains__, _SAID_CUES)):
        yield from _matches(_SAID, text)
    yield from _matches(_TITLE, text)
    yield from _matches(_GREETED, text)
    if "\n" in text:
        yield from _matches(_CLOSED, text)
    if not text.isascii() and "名" in text:
        for match in _SAID_CJK.finditer(text):
            yield match.span(match.lastindex or 0)


def _matches(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    on_a_line = pattern in (_GREETED, _CLOSED)
    for match in pattern.finditer(text):
        begins = match.start()
        if on_a_line and not _LINE_START.search(text[max(0, begins - 10) : begins]):
            continue
        if text[max(0, begins - 1) : begins].isalnum():
            continue
        start, end = match.span(1)
        words = text[start:end].split()
        kept = [*takewhile(lambda word: word.casefold().strip(".,") not in _NOBODY, words)]
        if len(kept) == len(words):
            yield start, end
        elif kept and not on_a_line:
            yield start, start + len(" ".join(kept))
