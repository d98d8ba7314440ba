"""Calls of each kind by the client that openapi-python-client has generated, each decoded."""

import os

from countersign_client import AuthenticatedClient
from countersign_client.api.accounts import ensure_account, get_account, list_accounts
from countersign_client.api.codes import read_codes
from countersign_client.api.enrollments import get_enrollment, start_enrollment
from countersign_client.api.requests import list_requests
from countersign_client.models import (
    AccountPage,
    AccountView,
    Batch,
    EnrollmentView,
    EnsuredView,
    EnsureBody,
    JsonUpload,
    Problem,
    RequestPage,
    Stage,
    StartedView,
)

URI = os.environ["ACCOUNT_URI"]
UNKNOWN = "totp-00000000-0000-4000-8000-000000000000"

client = AuthenticatedClient(
    base_url=os.environ["COUNTERSIGN_SERVER"], token=os.environ["COUNTERSIGN_TOKEN"]
)

ensured = ensure_account.sync(client=client, body=EnsureBody(uri=URI))
assert isinstance(ensured, EnsuredView), ensured
page = list_accounts.sync(client=client, search="Shop")
assert isinstance(page, AccountPage), page
[listed] = [account for account in page.accounts if account.id == ensured.id]
account = get_account.sync(listed.id, client=client)
assert isinstance(account, AccountView), account
assert (account.issuer, account.account_name) == ("Shop", "ann"), account

batch = read_codes.sync(client=client, id=[listed.id, UNKNOWN])
assert isinstance(batch, Batch), batch
code, problem = batch.tokens
assert len(code.token) == 6 and problem.problem == "account-unknown", batch

upload = JsonUpload(uri=URI.replace("ann", "python"))
started = start_enrollment.sync(client=client, body=upload)
assert isinstance(started, StartedView), started
ended = get_enrollment.sync(started.id, client=client, wait=30)
while isinstance(ended, EnrollmentView) and ended.stage not in (Stage.ENROLLED, Stage.FAILED):
    ended = get_enrollment.sync(started.id, client=client, wait=30)
assert isinstance(ended, EnrollmentView) and ended.stage == Stage.ENROLLED, ended
assert ended.preview.account_name == "python", ended

requests = list_requests.sync(client=client)
assert isinstance(requests, RequestPage), requests

refused = get_account.sync(UNKNOWN, client=client)
assert isinstance(refused, Problem), refused
assert (refused.code, refused.status) == ("account-unknown", 404), refused
