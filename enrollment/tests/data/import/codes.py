#!/usr/bin/env python3
"""Writes codes.csv: the codes of every account in the files here, by pyotp and by oathtool.

What is in each file is written down below as the app shows it, not read with our own readers.
Both programs have to agree before a code is written; Steam's letters are pyotp's alone. Needs
`pip install pyotp` and the package oathtool.
"""

import csv
import hashlib
import json
import pathlib
import subprocess
from base64 import b32encode

import pyotp
from pyotp.contrib.steam import Steam

# Services hand out shorter secrets than pyotp wants.
pyotp.OTP.min_secret_length_bits = 0

HERE = pathlib.Path(__file__).parent
TIMES = [59, 1111111109, 1764460800, 20000000000]

S = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
LONG = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA"
HELLO = "JBSWY3DPEHPK3PXP"


def account(name, secret=S, algorithm="sha1", digits=6, period=30):
    return name, secret, algorithm, digits, period


def steam(name):
    return account(name, digits="steam")


def signed_bytes(file, index):
    """The secret of a token that the file has as Java's signed bytes."""
    token = json.loads((HERE / file).read_text())["tokens"][index]
    return b32encode(bytes(byte & 255 for byte in token["secret"])).decode().rstrip("=")


ALICE = account("GitHub:alice")
ME = account("Bank:me", LONG, "sha256", 8, 60)
GORDON = steam("Steam:gordon")
OCTO = account("GitHub:octo@example.com")
THREE = [ALICE, ME, GORDON]
XC = [account("GitHub & co:alice", S, "sha256", 8, 60), GORDON]
MAIL = account("Mail:bob")

TOTP_AUTHENTICATOR = [ALICE, account("Mail:me"), account(":plain", digits=8, period=60)]

AEGIS = [OCTO, ME, GORDON]
TWO_FAS = [OCTO, account("Plain:Plain", HELLO), GORDON]
BITWARDEN = [OCTO, account("Mail:me"), GORDON]
PROTON = [ALICE, account("Bank:My bank", LONG, "sha256", 8, 60), GORDON]

FILES = {
    "1password.1pif": [ALICE, ME],
    "1password.1pux": [ALICE, ME],
    "1password.csv": [ALICE, ME],
    "2fas-encrypted.json": TWO_FAS,
    "2fas.json": TWO_FAS,
    "2fauth-uris.json": [ALICE, ME],
    "2fauth.json": THREE,
    "aegis-encrypted.json": AEGIS,
    "aegis-plain.json": AEGIS,
    "andotp-earlier.json.aes": [*THREE, MAIL],
    "andotp-encrypted.json.aes": [*THREE, MAIL],
    "andotp.json": [*THREE, MAIL],
    "apple-passwords.csv": [account("github.com (alice):alice"), ME],
    "authy.xml": [
        ALICE,
        account("Mail:bob", digits=8),
        account("Twilio:Twilio", digits=7, period=10),
    ],
    "bitwarden-protected-argon2.json": BITWARDEN,
    "bitwarden-protected.json": BITWARDEN,
    "bitwarden.csv": [ALICE, account("Bank, the:me", LONG, "sha256", 8, 60), GORDON],
    "bitwarden.json": BITWARDEN,
    "dashlane-earlier.csv": [ALICE],
    "dashlane.csv": [ALICE, ME],
    "duo.json": [account(":alice")],
    "enpass.csv": [ALICE, ME],
    "enpass.json": [ALICE, ME],
    "ente-encrypted.json": THREE,
    "ente.txt": THREE,
    "freeotp-plus.json": [
        ALICE,
        account("Bank:me", signed_bytes("freeotp-plus.json", 1), "sha256", 8, 60),
        GORDON,
    ],
    "keepass.xml": [
        account("GitHub & co:alice"),
        account("Bank:me", S, "sha256", 8, 60),
        account("Text:t"),
        account("Base64:b"),
        account("KeeOtp:k", digits=8, period=60),
        account("Tray:t", digits=8, period=60),
        GORDON,
        steam("XC:x"),
    ],
    "keepassxc.csv": XC,
    "keepassxc.xml": XC,
    "key-vault-row.json": [ALICE, ME],
    "key-vault.json": [
        account("2FAS:Test Token", "2FASTEST"),
        account("GitHub:octo@x.com", HELLO),
        account("Example:Example"),
    ],
    "lastpass-authenticator.json": [ALICE, ME],
    "otpclient-aegis.json": THREE,
    "otpclient-andotp.json": THREE,
    "otpclient-andotp.json.aes": THREE,
    "otpclient-database-1.enc": THREE,
    "otpclient-database-2.enc": THREE,
    "otpclient-database.enc": THREE,
    "otpclient-freeotpplus.txt": THREE,
    "otpclient.json": THREE,
    "page.html": [ALICE, ME],
    "pass-otp.txt": [ALICE, account("Acme Corp:bob@example.com"), ME],
    "pass-otp-entry.txt": [ME],
    "proton-authenticator-encrypted.json": PROTON,
    "proton-authenticator.json": PROTON,
    "proton-pass.json": [ALICE],
    "raivo-encrypted.zip": [ALICE, ME],
    "raivo.json": [ALICE, ME],
    "safe-in-cloud.xml": [ALICE, ME],
    "steam-app.json": [GORDON],
    "steam.maFile": [GORDON],
    "roboform.csv": [ALICE, ME],
    "stratum-earlier.authpro": THREE,
    "stratum-encrypted.stratum": THREE,
    "stratum.json": THREE,
    "table.csv": [ALICE, ME],
    "totp-authenticator-usual.encrypt": TOTP_AUTHENTICATOR,
    "totp-authenticator.encrypt": TOTP_AUTHENTICATOR,
    "totp-authenticator.xml": TOTP_AUTHENTICATOR,
}


def by_oathtool(secret, algorithm, digits, period, time):
    command = [
        "oathtool", f"--totp={algorithm}", "--base32", f"--digits={digits}",
        f"--time-step-size={period}s", f"--now=@{time}", secret,
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def code(secret, algorithm, digits, period, time):
    if digits == "steam":
        return Steam(secret).at(time)
    hash_function = getattr(hashlib, algorithm)
    written = pyotp.TOTP(secret, digits=digits, digest=hash_function, interval=period).at(time)
    assert written == by_oathtool(secret, algorithm, digits, period, time)
    return written


def main():
    with open(HERE / "codes.csv", "w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "account", "time", "code"])
        for name, accounts in sorted(FILES.items()):
            for label, *parts in accounts:
                for time in TIMES:
                    table.writerow([name, label, time, code(*parts, time)])


if __name__ == "__main__":
    main()
