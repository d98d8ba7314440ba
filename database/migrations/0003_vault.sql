-- Accounts. Their secrets and recovery codes are encrypted by the processes that use them,
-- with keys that never stand here.

-- The keys that everybody who uses this vault must have, by their ids.
CREATE TABLE vault_keys (
    id text PRIMARY KEY
);
CREATE TABLE vault_accounts (
    id text COLLATE "C" PRIMARY KEY,
    issuer text,
    account_name text NOT NULL,
    label_issuer text,
    -- Lower case, for order and search; by bytes, as in every vault.
    issuer_key text COLLATE "C" NOT NULL,
    name_key text COLLATE "C" NOT NULL,
    algorithm text NOT NULL,
    digits bigint NOT NULL,
    period bigint NOT NULL,
    key_id text NOT NULL,
    nonce bytea NOT NULL,
    ciphertext bytea NOT NULL,
    -- Microseconds since 1970.
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    deleted_at bigint,
    group_name text,
    -- Separated by commas.
    tags text NOT NULL,
    -- Who has to prove the account before it is in use.
    pending_for text,
    -- A keyed hash of the secret and how its codes are made.
    content bytea NOT NULL
);
CREATE INDEX vault_accounts_in_order ON vault_accounts (issuer_key, name_key, id)
    WHERE deleted_at IS NULL;
CREATE INDEX vault_accounts_by_content ON vault_accounts (content, created_at, id);
-- One row an account that has recovery codes, all of them encrypted together.
CREATE TABLE vault_recovery_codes (
    account text PRIMARY KEY REFERENCES vault_accounts (id),
    key_id text NOT NULL,
    nonce bytea NOT NULL,
    ciphertext bytea NOT NULL,
    set_at bigint NOT NULL
);
-- Ids that are not used again.
CREATE TABLE vault_purged (
    id text PRIMARY KEY,
    purged_at bigint NOT NULL
);
