-- What else front doors decide together. Times are seconds since 1970.

-- Codes that log a browser in: hashes only, each used once.
CREATE TABLE access_login_codes (
    hash bytea PRIMARY KEY,
    subject text NOT NULL,
    until bigint NOT NULL
);
-- The last time step of an account whose code was accepted.
CREATE TABLE verify_accepted (
    account text PRIMARY KEY,
    step bigint NOT NULL
);
-- Wrong codes, for as long as they count.
CREATE TABLE verify_wrong (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account text NOT NULL,
    caller text NOT NULL,
    -- Milliseconds since 1970.
    at bigint NOT NULL
);
CREATE INDEX verify_wrong_of ON verify_wrong (account, caller, at);
CREATE INDEX verify_wrong_by_time ON verify_wrong (at);
-- Up to which of its places a journal was copied into the audit log.
CREATE TABLE audit_marks (
    journal text PRIMARY KEY,
    sequence bigint NOT NULL
);
-- By what the processes of an installation recognize that they have the same keys: hashes
-- that tell nothing of the keys.
CREATE TABLE installation_keys (
    name text PRIMARY KEY,
    mark bytea NOT NULL
);
