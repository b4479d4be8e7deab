"""Addresses with secrets in them are refused in the settings' file: only $NAME may stand for a secret."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from engine.protocol.errors import InputError
from engine.settings.load import load_settings
from engine.settings.notify import Notify, filled


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1:9000/hook",
        "https://box.example.com/notify",
        "https://hooks.slack.com/services/$SLACK",
        "https://hooks.slack.com/services/${TEAM}/${BOT}/${KEY}",
        "ntfy://box/topic",
        "ntfys://ntfy.sh/$TOPIC",
        "tgram://$BOT/$CHAT",
        "mailto://$USER:$PASSWORD@gmail.com",
        "$ANYTHING",
    ],
)
def test_addresses_without_secrets(address: str) -> None:
    assert Notify(apprise=[address]).apprise == [address]


@pytest.mark.parametrize(
    "address",
    [
        "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
        "https://discord.com/api/webhooks/1234567890/abcDEF-ghiJKL0123456789",
        "https://user:password@box/hook",
        "https://box/hook?token=abc",
        "tgram://123456789:abcdefghijklmnop/1",
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnl",
        "discord://$ID/abcdefghijklmnopqrstuvwxyz",
        "mailto://user:password@gmail.com",
        "ntfys://token@ntfy.sh/topic",
        "ntfys://ntfy.sh/a1b2c3d4e5f6a7b8c9",
    ],
)
def test_addresses_that_may_hold_a_secret_are_refused_and_not_shown(address: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Notify(apprise=[address])
    (error,) = caught.value.errors()
    assert error["type"] == "secret" and "environment variable" in error["msg"]


@pytest.mark.parametrize("address", ["box", "/hook", "://x"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="must be an address"):
        Notify(webhook=address)


def test_variables_are_filled_in() -> None:
    assert filled("https://x/$A/${B}", {"A": "1 ", "B": "2"}) == "https://x/1/2"
    with pytest.raises(InputError, match="B is not in the environment"):
        filled("https://x/$A/${B}", {"A": "1"})


@pytest.mark.parametrize(
    "line", ['webhook = "hush-hush"', 'webhook = ["hush-hush"]', 'apprise = ["slack://hush-hush"]']
)
def test_an_error_does_not_repeat_the_address(line: str, tmp_path: Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text(f'[coverage]\nsource = "a.jsonl"\n[service]\nmodel = "sandbox"\n[notify]\n{line}\n')
    with pytest.raises(InputError) as caught:
        load_settings(file)
    assert "notify." in str(caught.value) and "hush" not in str(caught.value)
