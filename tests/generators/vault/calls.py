"""hvac, a client of HashiCorp Vault, with the server in Vault's place: what it asks first, the
caller of a token, and an account's code, read and checked."""

import os

import hvac

SERVER, TOKEN = os.environ["COUNTERSIGN_SERVER"], os.environ["COUNTERSIGN_TOKEN"]
PATH = "totp/code/" + os.environ["ACCOUNT_ID"]


def refused(error, call):
    """Whether a call ends with this error."""
    try:
        call()
    except error:
        return True
    return False


client = hvac.Client(url=SERVER, token=TOKEN)
assert client.sys.is_initialized() and not client.sys.is_sealed()
assert client.sys.read_health_status(method="GET")["sealed"] is False
assert client.sys.read_health_status(method="HEAD").status_code == 200
assert client.sys.read_seal_status()["sealed"] is False
assert client.sys.read_leader_status()["ha_enabled"] is False

assert client.is_authenticated()
assert not hvac.Client(url=SERVER, token="nobody's").is_authenticated()
assert client.auth.token.lookup_self()["data"]["display_name"] == "admin"

code = client.read(PATH)["data"]["code"]
assert len(code) == 6 and code.isdigit(), code
assert client.write(PATH, code=code)["data"]["valid"] is True
assert refused(hvac.exceptions.InvalidRequest, lambda: client.write(PATH, code=code))
assert client.write(PATH, code="none")["data"]["valid"] is False
assert client.read("totp/code/totp-00000000-0000-4000-8000-000000000000") is None
print("ok: hvac")
