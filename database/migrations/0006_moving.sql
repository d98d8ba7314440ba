-- Whether an installation is being moved into this database or was moved out of it. No process
-- uses the database then.
CREATE TABLE installation_move (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    state text NOT NULL CHECK (state IN ('arriving', 'left')),
    -- Seconds since 1970.
    at bigint NOT NULL
);
-- Where the audit log begins, once its first entries are in an archive: the last of those, with
-- a code that proves that this program archived them.
CREATE TABLE audit_archived (
    sequence bigint PRIMARY KEY,
    hash bytea NOT NULL,
    code bytea NOT NULL
);
