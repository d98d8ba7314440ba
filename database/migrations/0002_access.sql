-- Who may do what. Times are seconds since 1970. Of keys and sessions there are hashes only.

CREATE TABLE access_keys (
    id text PRIMARY KEY,
    name text NOT NULL UNIQUE,
    role text NOT NULL,
    hash bytea NOT NULL,
    created_at bigint NOT NULL,
    revoked_at bigint,
    expires_at bigint,
    last_used_at bigint,
    granted_only boolean NOT NULL,
    member_of text[] NOT NULL,
    -- The key before this one, which works for a while.
    former_hash bytea,
    former_until bigint
);
-- Which caller made the key of a caller.
CREATE TABLE access_makers (
    name text PRIMARY KEY,
    maker text NOT NULL
);
CREATE TABLE access_grants (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('caller', 'group')),
    grantee text NOT NULL,
    account text NOT NULL,
    until bigint,
    -- Both or neither.
    reads_granted bigint CHECK ((reads_granted IS NULL) = (reads_left IS NULL)),
    reads_left bigint CHECK (reads_left >= 0),
    UNIQUE (kind, grantee, account)
);
CREATE INDEX access_grants_account ON access_grants (account);
-- Accounts whose codes are read with an approval only.
CREATE TABLE access_guarded (
    account text PRIMARY KEY
);
CREATE TABLE access_sessions (
    id bytea PRIMARY KEY,
    subject text NOT NULL,
    until bigint NOT NULL
);
CREATE INDEX access_sessions_of ON access_sessions (subject, until);
