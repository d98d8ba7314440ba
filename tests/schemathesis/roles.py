"""A check of our own: who lacks a role gets 403, whatever else is wrong with the request."""

import os

import schemathesis


@schemathesis.check
def only_the_roles_that_may(ctx, response, case):
    role = os.environ["COUNTERSIGN_ROLE"]
    required = case.operation.definition.raw.get("security")
    # Other checks take the key away or ask for methods that there are not.
    sent = response.request.headers.get("Authorization", "")
    with_our_key = sent == f"Bearer {os.environ['COUNTERSIGN_TOKEN']}"
    same_method = response.request.method.upper() == case.operation.method.upper()
    if required is None or not with_our_key or not same_method:
        return
    roles = required[0]["bearer"]
    status = response.status_code
    if role not in roles:
        assert status == 403, f"{role} gets {status}, and only {roles} may"
