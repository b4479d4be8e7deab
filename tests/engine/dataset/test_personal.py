"""Personal data found and masked: in both directions, in JSON, twice, and in hostile text."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.dataset.personal import Found, counted, find, kinds_in, mask, redacted
from engine.protocol.rows import Message, Pair

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4"
BLOCK = "-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----"
PERSONAL = [
    ('anna.schmidt@example.com', 'email', 'anna.schmidt@example.com'),
    ('Write to müller@firma.de, please', 'email', 'müller@firma.de'),
    ('(415) 555-2671', 'phone', '(415) 555-2671'),
    ('415-555-2671', 'phone', '415-555-2671'),
    ('call me at 030 1234567', 'phone', '030 1234567'),
    ('+49 30 1234567', 'phone', '+49 30 1234567'),
    ('+49 (0)30 123456-78', 'phone', '+49 (0)30 123456-78'),
    ('0049 171 1234567', 'phone', '0049 171 1234567'),
    ('0171-1234567', 'phone', '0171-1234567'),
    ('0171 / 123 45 67', 'phone', '0171 / 123 45 67'),
    ('06 12 34 56 78', 'phone', '06 12 34 56 78'),
    ('06.12.34.56.78', 'phone', '06.12.34.56.78'),
    ('020 7946 0958', 'phone', '020 7946 0958'),
    ('07700 900123', 'phone', '07700 900123'),
    ('+1 415 555 2671', 'phone', '+1 415 555 2671'),
    ('+14155552671', 'phone', '+14155552671'),
    ('Tel.: 089/12345678', 'phone', '089/12345678'),
    ('phone number is 5551234567', 'phone', '5551234567'),
    ('我的电话是13812345678。', 'phone', '13812345678'),
    ('090-1234-5678', 'phone', '090-1234-5678'),
    ('(11) 91234-5678', 'phone', '(11) 91234-5678'),
    ('móvil: 612 345 678', 'phone', '612 345 678'),
    ('4111 1111 1111 1111', 'card', '4111 1111 1111 1111'),
    ('5500005555555559', 'card', '5500005555555559'),
    ('378282246310005', 'card', '378282246310005'),
    ('3782 822463 10005', 'card', '3782 822463 10005'),
    ('DE89 3704 0044 0532 0130 00', 'iban', 'DE89 3704 0044 0532 0130 00'),
    ('my iban is GB82WEST12345698765432.', 'iban', 'GB82WEST12345698765432'),
    ('fr1420041010050500013m02606', 'iban', 'fr1420041010050500013m02606'),
    ('from 203.0.113.42 at noon', 'ip', '203.0.113.42'),
    ('http://192.168.17.20:8080/x', 'ip', '192.168.17.20'),
    ('2001:0db8:85a3:0000:0000:8a2e:0370:7334', 'ip', '2001:0db8:85a3:0000:0000:8a2e:0370:7334'),
    ('fe80::1ff:fe23:4567:890a', 'ip', 'fe80::1ff:fe23:4567:890a'),
    ('My SSN is 123-45-6789', 'id', '123-45-6789'),
    ('12345678Z', 'id', '12345678Z'),
    ('RSSMRA85T10A562S', 'id', 'RSSMRA85T10A562S'),
    ('11010519491231002X', 'id', '11010519491231002X'),
    ('529.982.247-25', 'id', '529.982.247-25'),
    ('My name is Anna Schmidt and', 'name', 'Anna Schmidt'),
    ('Mein Name ist Jürgen Müller.', 'name', 'Jürgen Müller'),
    ('me llamo Juan Pérez', 'name', 'Juan Pérez'),
    ("Je m'appelle Hélène Dupont", 'name', 'Hélène Dupont'),
    ('Dear Mr. Smith,', 'name', 'Smith'),
    ('Dear Anna,', 'name', 'Anna'),
    ('Sehr geehrte Frau Müller-Lüdenscheidt,', 'name', 'Müller-Lüdenscheidt'),
    ('Hallo Herr Dr. Weber', 'name', 'Weber'),
    ('Best regards,\nJohn Q. Public', 'name', 'John Q. Public'),
    ('Mit freundlichen Grüßen\n\nPeter Meier', 'name', 'Peter Meier'),
    ('我的名字叫王小明。', 'name', '王小明'),
    ('sk-proj-abc123DEF456ghi789JKL012', 'key', 'sk-proj-abc123DEF456ghi789JKL012'),
    ('AKIAIOSFODNN7EXAMPLE', 'key', 'AKIAIOSFODNN7EXAMPLE'),
    ('ghp_16C7e42F292c6912E7710c838347Ae178B4a', 'key', 'ghp_16C7e42F292c6912E7710c838347Ae178B4a'),
    ('Authorization: Bearer abcdef0123456789abcdef', 'key', 'abcdef0123456789abcdef'),
    (TOKEN, 'key', TOKEN),
    ('postgres://admin:s3cr3t@db.internal/x', 'password', 'admin:s3cr3t'),
    (BLOCK, 'key', BLOCK),
    ('Thanks for your help!\nBest, Greta', 'name', 'Greta'),
    ("Hola María,\n¿qué tal?", "name", "María"),
    ("Cordialement,\nÉmilie Dubois", "name", "Émilie Dubois"),
    ("Cordiali saluti,\nPaolo De Luca", "name", "Paolo De Luca"),
    ("https://me:hunter22@git.example.org/x.git", "password", "me:hunter22"),
    ("xoxb-123456789012-abcdefABCDEF", "key", "xoxb-123456789012-abcdefABCDEF"),
]  # fmt: skip
NOT_PERSONAL = [
    "Order 4155552671 is late",
    "order number: 0171-1234567",
    "Invoice #2024-000123",
    "2024-01-02T10:03:11Z",
    "2024-01-02 10:03:11",
    "01-02-2024",
    "it costs 1.234.567,89 EUR",
    "$1,234,567.89",
    "version 1.2.3.4",
    "v10.20.30.40 is out",
    "Chrome/120.0.0.0 Safari",
    "127.0.0.1",
    "0.0.0.0/0",
    "255.255.255.0",
    "section 10.2.3.4",
    "1234567890123456",
    "4111 1111 1111 1112",
    "ISBN 978-3-16-148410-0",
    "1700000000",
    "1700000000000",
    "3.14159265358979",
    "std::vector::iterator",
    "12:30:45",
    "a::b::c",
    "10:20:30:40:50:60",
    "logo@2x.png",
    "git@github.com:org/repo.git",
    "@property",
    "user@localhost",
    "react@18.2.0",
    "sk-learn is a library",
    "task-force-abcdefghijklmnop",
    "the disk-utility-for-mac-computers-2",
    "Dear Customer,",
    "Dear Sir or Madam,",
    "Hi there,",
    "Hello World!",
    "Hi Team,",
    "Best regards,\nThe Support Team",
    "Thanks,\nCustomer Service",
    "My name is",
    "the name of the file",
    "Mr President, thank you",
    "https://user:password@example.org/x is the form",
    "1990-2024",
    "part no. 123-45-6789",
    "100 000 000",
    "2 000 000 000 people",
    "12345678A",
    "id 12345678",
    "GB12 3456 7890",
    "tracking 1Z999AA10123456784",
    "UUID 123e4567-e89b-12d3-a456-426614174000",
    "sha 3f786850e387550fdab836ed7e6dc881de23001b",
    "lat 52.520008, 13.404954",
    "SELECT * FROM t WHERE id = 1234567890",
    "DE123456789",
    "call the function with 1000000 items",
    "1+1=2 and 5-4=1 or 12-34-56",
    "10-20-30-40-50",
    "Hello, Kitty",
    "[EMAIL_1] and [PHONE_2]",
    "My name is [NAME_1]",
    "ticket 555-1234",
    "E = mc2, 299792458 m/s",
    "0123456789",
    "the text 123456789 is",
    "On 2024-03-04 (415 rows) we saw 12 errors",
    "The hotel 1234567 is closed",
    "2001-01-01 to 2002-02-02",
    "rgb(255, 128, 0) and 0xDEADBEEF",
    "Mr. and Mrs. are titles",
    "Best of all,\nI like it",
    "Hi Everyone,\nwelcome",
    "doi 10.1000/182, arXiv 2408.13467",
    "0.1.2.3 and 1.0.0.0",
    "EAN 4006381333931",
]


@pytest.mark.parametrize(("text", "kind", "value"), PERSONAL, ids=range(len(PERSONAL)))
def test_it_is_found(text: str, kind: str, value: str) -> None:
    assert [(found.kind, text[found.start : found.end]) for found in find(text)] == [(kind, value)]
    embedded = f"Hello there.\n{text}\nThat is all."
    assert [found.kind for found in find(embedded)] == [kind]


@pytest.mark.parametrize("text", NOT_PERSONAL, ids=range(len(NOT_PERSONAL)))
def test_what_only_looks_like_it_is_left(text: str) -> None:
    assert find(text) == []
    assert mask(text) == text


def test_equal_values_have_one_placeholder() -> None:
    assert mask("a@b.de, A@B.DE and c@d.de") == "[EMAIL_1], [EMAIL_1] and [EMAIL_2]"
    assert mask("4111 1111 1111 1111 or 4111111111111111") == "[CARD_1] or [CARD_1]"


def test_placeholders_of_before_keep_their_numbers() -> None:
    assert mask("[EMAIL_3] wrote to a@b.de") == "[EMAIL_3] wrote to [EMAIL_4]"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"phone": 4155552671, "n": 4.50}', '{"phone": "[PHONE_1]", "n": 4.50}'),
        ('{"to": "x\\nanna@x.de"}', '{"to": "x\\n[EMAIL_1]"}'),
        ('{"m": "a\\u0040b.de"}', '{"m": "[EMAIL_1]"}'),
        ('{"inner": "{\\"to\\": \\"a@b.de\\"}"}', '{"inner": "{\\"to\\": \\"[EMAIL_1]\\"}"}'),
        ('[ "a@b.de" ,1e5]', '[ "[EMAIL_1]" ,1e5]'),
        ('{"broken": a@b.de', '{"broken": [EMAIL_1]'),
    ],
)
def test_json_stays_json_and_the_rest_of_it_as_it_was(text: str, expected: str) -> None:
    assert mask(text) == expected


def row(*messages: Message) -> Pair:
    return Pair(id="1", messages=list(messages), source="a.jsonl:1")


def test_a_value_has_one_placeholder_in_all_of_a_row() -> None:
    arguments = json.dumps({"to": "anna@x.de", "name": "Anna Schmidt"})
    pair = row(
        {"role": "system", "content": "Write for anna@x.de."},
        {"role": "user", "content": "My name is Anna Schmidt, call 030 1234567."},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "1", "type": "function", "function": {"name": "send", "arguments": arguments}}],
        },
        {"role": "tool", "content": '{"sent": "ANNA@x.de", "phone": "030 1234567"}', "tool_call_id": "1"},
        {"role": "assistant", "content": "Done, Anna Schmidt!"},
    )
    masked = redacted(pair)

    assert masked.id == pair.id and masked.source == pair.source
    system, user, call, result, answer = masked.messages
    assert system["content"] == "Write for [EMAIL_1]."
    assert user["content"] == "My name is [NAME_1], call [PHONE_1]."
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"to": "[EMAIL_1]", "name": "[NAME_1]"}
    assert json.loads(result["content"]) == {"sent": "[EMAIL_1]", "phone": "[PHONE_1]"}
    assert answer["content"] == "Done, [NAME_1]!"
    assert redacted(masked) is masked, "nothing is left to mask"
    assert kinds_in(pair) == {"email": 1, "name": 1, "phone": 1} and kinds_in(masked) == {}


def test_tool_definitions_are_masked() -> None:
    pair = Pair(
        id="1",
        messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}],
        tools=[{"type": "function", "function": {"name": "f", "description": "Ask a@b.de", "strict": True}}],
    )
    assert redacted(pair).tools[0]["function"] == {"name": "f", "description": "Ask [EMAIL_1]", "strict": True}


def test_a_row_without_personal_data_is_the_same_row() -> None:
    pair = row({"role": "user", "content": "Where is order 4155552671?"}, {"role": "assistant", "content": "Here."})
    assert redacted(pair) is pair


def test_counts_in_words() -> None:
    assert counted("email", 1) == "1 e-mail address" and counted("name", 1200) == "1,200 names of people"


PIECES = st.sampled_from(
    [*(text for text, _, _ in PERSONAL), *NOT_PERSONAL, "@", ".", "+49 ", "\n", '"', "{", "\\", ": "]
)


@given(st.lists(st.one_of(PIECES, st.text(max_size=8)), max_size=8).map("".join))
def test_masking_twice_changes_nothing_more(text: str) -> None:
    masked = mask(text)
    assert mask(masked) == masked


@given(
    st.recursive(
        st.one_of(PIECES, st.integers(), st.none()), lambda inner: st.lists(inner) | st.dictionaries(PIECES, inner)
    )
)
@example("Write to müller@firma.de, please")
def test_json_is_json_afterwards(value: object) -> None:
    text = json.dumps(value)
    masked = mask(text)
    json.loads(masked)
    assert mask(masked) == masked


HOSTILE = {
    "digits": "1" * 250_000,
    "spaced digits": "1 " * 125_000,
    "half addresses": "a@" * 125_000,
    "dots": "x@" + "a." * 125_000,
    "greetings": "\nDear Aa Bb Cc" * 17_500,
    "closings": "Regards,\n" * 27_500,
    "tokens": "eyJ" * 82_500,
    "token dots": "eyJaaaaaaaa." * 20_000,
    "key blocks": "-----BEGIN PRIVATE KEY-----" * 9_250,
    "colons": "a:" * 125_000,
    "urls": "aa://b:" * 35_000 + "@",
    "quotes": '"' * 250_000,
    "titles": "Mr. " + "A. " * 82_500,
    "accounts": "DE89 " * 50_000,
    "brackets": "[" * 250_000,
    "escapes": '["' + "\\\\" * 124_750 + '"]',
    "calls": "call 1 1 1 1 1 1 " * 14_500,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_takes_linear_time(name: str) -> None:
    began = time.process_time()
    mask(HOSTILE[name])
    assert time.process_time() - began < 4, "a quarter of a megabyte takes a second at most, on a slow machine, too"


def test_many_values_in_a_row_take_little_more() -> None:
    text = " ".join(f"user{number}@example.org" for number in range(20_000))
    began = time.process_time()
    masked = mask(text)
    assert time.process_time() - began < 15
    assert "[EMAIL_20000]" in masked and "@" not in masked


def test_found_is_a_place() -> None:
    assert find("Mail a@b.de!") == [Found("email", 5, 11)]
