import io
import logging
import sys
import warnings

import pytest

from engine.protocol.secrets import Redacted, without_keys


def test_values_of_secrets_become_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "planted-0123456789")
    monkeypatch.setenv("MY_LOGIN", "another-0123456789")
    text = "Bearer planted-0123456789 and another-0123456789"

    assert without_keys(text) == "Bearer $SOME_API_KEY and another-0123456789"
    assert without_keys(text, {"MY_LOGIN"}) == "Bearer $SOME_API_KEY and $MY_LOGIN"


def test_whatever_a_library_prints_is_written_without_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "planted-0123456789")
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", Redacted(stream))
    print(warnings.formatwarning("input_value='Bearer planted-0123456789'", UserWarning, "a.py", 1), file=sys.stderr)
    handler = logging.StreamHandler()
    handler.emit(logging.LogRecord("x", logging.WARNING, "a.py", 1, "key planted-0123456789", (), None))

    assert stream.getvalue().count("$SOME_API_KEY") == 2 and "planted" not in stream.getvalue()


def test_a_key_that_begins_with_another_is_replaced_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "planted-0123")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "planted-0123456789")

    assert without_keys("planted-0123456789 planted-0123") == "$AWS_BEARER_TOKEN_BEDROCK $A_KEY"
