"""Numbers and addresses that identify a person or a machine, found by pattern and check digits.

A match counts only if its check digits are right or its form is unmistakable: versions, dates, prices and order numbers
look alike. Every pattern is bounded, so that time grows with the length of the text alone.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator

Span = tuple[int, int]

_FILES = frozenset(
    [
        "png",
        "jpg",
        "jpeg",
        "gif",
        "svg",
        "webp",
        "pdf",
        "css",
        "js",
        "ts",
        "html",
        "htm",
        "json",
        "xml",
        "md",
        "py",
        "txt",
        "zip",
        "mp4",
        "mp3",
        "ico",
    ]
)
"""Endings of files that follow an @ in their names: `logo@2x.png`."""

_LATIN = "A-Za-z0-9\u00c0-\u024f"
_EMAIL = re.compile(
    rf"(?<![{_LATIN}_.+%-])[{_LATIN}_.+%-]{{1,64}}@(?:[{_LATIN}-]{{1,63}}\.){{1,8}}([A-Za-z]{{2,24}})(?![{_LATIN}_@-])"
)
_BEFORE_PASSWORD = re.compile(r"://[^\s/@]{1,128}:$")
_BEFORE = 32
"""Characters to the left that say what a number is."""

_NOT_A_PERSONS = re.compile(
    r"(?<![A-Za-z])(?:order|invoice|ticket|case|item|part|serial|model|sku|isbn|ref(?:erence)?|tracking|parcel|account|customer|"
    r"transaction|version|build|release|id|no|nr|num(?:ber)?|code|bestell\w{0,12}|rechnung\w{0,12}|auftrag\w{0,12}|"
    r"commande|facture|pedido|factura)[\s.:#=\"'-]{0,6}$|[#$€£¥]\s?$|(?:usd|eur|gbp|chf)\s?$",
    re.IGNORECASE,
)
_OF_GOODS = re.compile(r"\b(?:order|invoice|item|part|serial|model|sku|isbn|tracking|parcel|version)\b", re.IGNORECASE)
_OF_A_PHONE = re.compile(
    r"(?<![A-Za-z])(?:phone|mobile|cell|telephone|fax|call|calling|text me|dial|ring|whatsapp|hotline|telefon|tel|"
    r"handy|mobil|rufnummer|téléphone|portable|teléfono|telefono|móvil|celular|cellulare|telefone|telefoon|电话|電話|手机|携帯|"
    r"전화)(?:\s?(?:number|nummer|numéro|no|nr))?[\s.:#=\"'()号番-]{0,4}(?:(?:is|at|on|me|us|to|ist|unter|est|es|al|au|"
    r"number|nummer|número|numéro|him|her|them|my|our|was|是)[\s.:]{1,3}){0,3}$",
    re.IGNORECASE,
)
_DIGITS = re.compile(r"[0-9]")
_NUMBER = re.compile(r"[+(0-9][0-9 ()./\u00a0-]{5,22}[0-9]")
_AFTER_NUMBER = re.compile(r"[A-Za-z0-9_%€$]|[.,:/-][0-9]")
_DATE = re.compile(
    r"\d{4}[-/. ]\d{1,2}[-/. ]\d{1,2}|\d{1,2}[-/. ]\d{1,2}[-/. ]\d{4}|(?:19|20)\d{2}\s?-\s?(?:19|20)\d{2}"
)
_LONG = re.compile(r"[0-9][0-9 ()./\u00a0-]{5}")
"""A cheap screen: no number that is looked for is shorter."""

_COUNTRY = re.compile(
    r"1|7|20|27|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|21\d|22\d|23\d|24\d|25\d|26\d|29\d|35\d|37\d|38\d|42\d|"
    r"50\d|59\d|67\d|68\d|69\d|80\d|85\d|87\d|88\d|96\d|97\d|99\d"
)
_NATIONAL = re.compile(
    r"\(?[2-9]\d{2}\)[ .-]?[2-9]\d{2}[ .-]\d{4}"  # North America
    r"|(?:1[ .-])?[2-9]\d{2}([.-])[2-9]\d{2}\1\d{4}"
    r"|0[1-9](?:[ .-]\d{2}){4}"  # France
    r"|0[67]\d{8}|07\d{3} ?\d{3} ?\d{3}|01[567]\d{8,9}"  # mobiles of France, Britain, Germany
    r"|(?:\(0[1-9]\d{1,4}\) ?|0[1-9]\d{1,4}(?: ?[/-] ?| ))\d{3,9}(?:[ -]\d{2,5}){0,3}"
    r"|0\d{1,3}-\d{2,4}-\d{4}"  # Japan
    r"|\(\d{2}\) ?9?\d{4}[ -]\d{4}"  # Brazil
    r"|1[3-9]\d[ -]\d{4}[ -]\d{4}"  # China
)
_BEGINS = re.compile(r"[+(0]|(?:1[ .-])?[2-9][0-9]{2}[.-][2-9][0-9]{2}[.-]|1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}")
"""How a phone number begins that no word announces."""

_CARD = re.compile(
    r"[0-9][0-9][0-9][0-9](?:\d{9,15}|(?: \d{4}){3}|(?:-\d{4}){3}|[ -]\d{6}[ -]\d{4,5})(?!\w|[.,-]\d)", re.ASCII
)
_IIN = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|(?:5[1-5]\d{2}|2(?:22[1-9]|2[3-9]\d|[3-6]\d{2}|7[01]\d|720))\d{12}|3[47]\d{13}|"
    r"6(?:011|5\d{2}|4[4-9]\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}|3(?:0[0-5]|[68]\d)\d{11}|62\d{14,17}"
)
_IBAN = re.compile(r"[0-9][0-9](?=[ -]?[A-Za-z0-9]{4})")
_IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip

_IPV4 = re.compile(r"[0-9][0-9]?[0-9]?\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(?!\w|\.\d|-\w)", re.ASCII)
_OF_AN_ADDRESS = re.compile(
    r"(?:ip|ips|address|addr|host|server|ping|from|client|ipv4|proxy|dns|gateway)\W{0,3}$", re.I
)
_OF_A_VERSION = re.compile(
    r"(?:\bv|version|release|build|firmware|driver|section|chapter|article|clause|upgrade to|update to|§|rev|ver)"
    r"[\s.:=]{0,3}$",
    re.IGNORECASE,
)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]{4,39}(?![\w:])", re.ASCII)

_OF_DIGITS = re.compile(
    r"[0-9](?:(?P<us>\d{2}-\d{2}-\d{4})|(?P<br>\d{2}\.\d{3}\.\d{3}-\d{2})|(?P<kr>\d{5}-[1-8]\d{6})"
    r"|(?P<cn>\d{16}[\dX])|(?P<es>\d{7}-?[A-HJ-NP-TV-Z])"
    r"|(?P<fr> ?\d{2} ?(?:0[1-9]|1[0-2]) ?\d{2} ?\d{3} ?\d{3} ?\d{2}))(?![\w-])",
    re.ASCII,
)
_OF_LETTERS = re.compile(
    r"[A-Z](?:(?P<es>(?<=[XYZ])\d{7}-?[A-HJ-NP-TV-Z])|(?P<it>[A-Z]{5}\d{2}[A-EHLMPRST]\d{2}[A-Z]\d{3}[A-Z])"
    r"|(?P<gb>[A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]))(?![\w-])",
    re.ASCII,
)


def has_number(text: str) -> bool:
    """Whether a text may hold a number that is looked for: without one, `NUMBERS` find nothing."""
    return _LONG.search(text) is not None


def emails(text: str) -> Iterator[Span]:
    """E-mail addresses; not names of files and not addresses of repositories."""
    if "@" not in text:
        return
    for match in _EMAIL.finditer(text):
        start, end = match.span()
        if text[start - 1 : start] == "\\" and text[start] in "nrt":  # a line feed in JSON within a text
            start += 1
        local = text[start : text.index("@", start)].strip(".")
        repository = local == "git" and text[end : end + 1] in (":", "/")
        in_url = text[start - 1 : start] == ":" and _BEFORE_PASSWORD.search(text[max(0, start - 160) : start])
        if local and not repository and not in_url and match[1].casefold() not in _FILES:
            yield start, end


def phones(text: str) -> Iterator[Span]:
    """Phone numbers, international, in common national forms, or of any form after a word such as "call"."""
    position = 0
    while match := _NUMBER.search(text, position):
        start, end = match.span()
        end = _phone_end(text, start, end)
        if end:
            yield start, end
            position = end
        else:  # another number may follow after a space
            space = match[0].find(" ", 1)
            position = start + space + 1 if space > 0 else match.end()


def _phone_end(text: str, start: int, end: int) -> int:
    """Where a phone number that starts here ends, at the latest at `end`; 0 where there is none."""
    if _follows(text, start, "+-.,:/=&?%@"):
        return 0
    left = text[max(0, start - _BEFORE) : start]
    word = left.rstrip(" .:#=\"'()号番-")[-1:]
    announced = word.isalpha() and _OF_A_PHONE.search(left) is not None
    if not announced and (not _BEGINS.match(text, start) or _NOT_A_PERSONS.search(left)):
        return 0
    while end > start + 6:
        number = text[start:end].rstrip(" (./-\u00a0")
        digits = "".join(_DIGITS.findall(number))
        stop = start + len(number)
        whole = 7 <= len(digits) <= 15 and not _AFTER_NUMBER.match(text, stop)
        if whole and (_is_phone(number, digits, announced) or (len(number) == len(digits) == 11 and _has_han(text))):
            return stop
        end = start + max(number.rfind(" "), 0)
    return 0


def _is_phone(number: str, digits: str, announced: bool) -> bool:
    if number.startswith("+") or (number.startswith("00") and not number.isdigit()):
        return _is_international(digits.removeprefix("00"))
    if _DATE.fullmatch(number) or len(set(digits)) < 3 or number.count("(") != number.count(")"):
        return False
    return announced or (len(digits) >= 9 and _NATIONAL.fullmatch(number) is not None)


def _is_international(digits: str) -> bool:
    if digits.startswith("1"):
        return len(digits) == 11 and digits[1] > "1" and digits[4] > "1"
    return 9 <= len(digits) <= 15 and len(set(digits)) > 2 and _COUNTRY.match(digits) is not None


def _has_han(text: str) -> bool:
    return not text.isascii() and any("\u4e00" <= sign <= "\u9fff" for sign in text[:2000])


def cards(text: str) -> Iterator[Span]:
    """Numbers of payment cards: of a known issuer, in its grouping, with the right check digit (Luhn)."""
    for match in _CARD.finditer(text):
        digits = "".join(_DIGITS.findall(match[0]))
        if _IIN.fullmatch(digits) and not _follows(text, match.start(), ".,:/=-") and _luhn(digits):
            yield match.span()


def _follows(text: str, start: int, signs: str) -> bool:
    """Whether a place follows one of these signs, or a letter or digit: it is within something longer."""
    before = text[start - 1 : start]
    return before != "" and (before in signs or (before.isascii() and before.isalnum()) or before == "_")


def _luhn(digits: str) -> bool:
    doubled = (int(digit) * 2 for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(value - 9 if value > 9 else value for value in doubled)) % 10 == 0


def ibans(text: str) -> Iterator[Span]:
    """International bank account numbers: of the country's length, with the right check digits (mod 97)."""
    for match in _IBAN.finditer(text):
        start = match.start() - 2
        length = _IBAN_LENGTHS.get(text[max(0, start) : start + 2].upper())
        if length is None or _follows(text, start, ""):
            continue
        number, end = "", start
        while end < len(text) and len(number) < length:
            sign = text[end]
            if sign.isascii() and sign.isalnum():
                number += sign.upper()
            elif sign not in " -" or text[end - 1] in " -":
                break
            end += 1
        whole = len(number) == length and not text[end : end + 1].isalnum()
        if whole and int("".join(str(int(sign, 36)) for sign in number[4:] + number[:4])) % 97 == 1:
            yield start, end


def ipv4_addresses(text: str) -> Iterator[Span]:
    """IPv4 addresses; not versions, not the machine itself, no network masks."""
    if text.count(".") >= 3:
        for match in _IPV4.finditer(text):
            left = text[max(0, match.start() - _BEFORE) : match.start()]
            in_path = left.endswith("/") and not left.endswith("//")
            if not in_path and not _follows(text, match.start(), ".-") and _is_ipv4(match[0], left):
                yield match.span()


def ipv6_addresses(text: str) -> Iterator[Span]:
    """IPv6 addresses, not of the machine itself."""
    if "::" in text or text.count(":") >= 7:
        for match in _IPV6.finditer(text):
            if _is_ipv6(match[0]):
                yield match.span()


def _is_ipv4(address: str, left: str) -> bool:
    octets = address.split(".")
    if any(int(octet) > 255 or (len(octet) > 1 and octet[0] == "0") for octet in octets):
        return False
    if octets[0] in ("0", "127", "255") or int(octets[0]) >= 224 or octets[1:] == ["0", "0", "0"]:
        return False
    if _OF_A_VERSION.search(left):
        return False
    return max(map(int, octets)) > 20 or _OF_AN_ADDRESS.search(left) is not None


def _is_ipv6(address: str) -> bool:
    if sum(map(bool, address.split(":"))) < 3 or not _DIGITS.search(address):
        return False
    try:
        return not ipaddress.IPv6Address(address).is_loopback
    except ValueError:
        return False


def national_ids(text: str) -> Iterator[Span]:
    """National ids that begin with a digit: of the US, Brazil, Korea, China, Spain and France."""
    return _national_ids(_OF_DIGITS, text)


def lettered_ids(text: str) -> Iterator[Span]:
    """National ids that begin with a letter: of foreigners in Spain, of Italy and Britain."""
    return _national_ids(_OF_LETTERS, text)


def _national_ids(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    for match in pattern.finditer(text):
        country = str(match.lastgroup)
        value = "".join(sign for sign in match[0] if sign.isalnum())
        if not _follows(text, match.start(), "-") and _ID_CHECKS[country](value):
            left = text[max(0, match.start() - _BEFORE) : match.start()]
            if country not in ("us", "gb", "kr") or not _OF_GOODS.search(left):
                yield match.span()


def _us(value: str) -> bool:
    area, group, serial = value[:3], value[3:5], value[5:]
    return area not in ("000", "666") and area < "900" and group != "00" and serial != "0000" and len(set(value)) > 1


def _br(value: str) -> bool:
    def check(digits: str) -> str:
        rest = (
            sum(int(digit) * weight for digit, weight in zip(digits, range(len(digits) + 1, 1, -1), strict=True)) % 11
        )
        return str(0 if rest < 2 else 11 - rest)

    return len(set(value)) > 1 and value[9] == check(value[:9]) and value[10] == check(value[:10])


def _cn(value: str) -> bool:
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(value[:17], weights, strict=True))
    return value[6:8] in ("19", "20") and _is_date(value[10:14]) and "10X98765432"[total % 11] == value[17]


def _es(value: str) -> bool:
    digits = {"X": "0", "Y": "1", "Z": "2"}.get(value[0], value[0]) + value[1:-1]
    return len(digits) == 8 and "TRWAGMYFPDXBNJZSQVHLCKE"[int(digits) % 23] == value[-1]


def _fr(value: str) -> bool:
    return value[0] in "12" and 97 - int(value[:13]) % 97 == int(value[13:])


def _it(value: str) -> bool:
    odd = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23]
    numbers = [int(sign) if sign.isdigit() else ord(sign) - 65 for sign in value[:15]]
    return (sum(odd[number] for number in numbers[::2]) + sum(numbers[1::2])) % 26 == ord(value[15]) - 65


def _is_date(month_and_day: str) -> bool:
    return "01" <= month_and_day[:2] <= "12" and "01" <= month_and_day[2:] <= "31"


_ID_CHECKS: dict[str, Callable[[str], bool]] = {
    "us": _us,
    "br": _br,
    "kr": lambda value: _is_date(value[2:6]),
    "cn": _cn,
    "es": _es,
    "fr": _fr,
    "it": _it,
    "gb": lambda value: value[0] not in "DFIQUV" and value[:2] not in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ"),
}
