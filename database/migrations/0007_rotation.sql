-- Keys of the vault that are being replaced by the one in vault_keys: some accounts still have them.
CREATE TABLE vault_former_keys (
    id text PRIMARY KEY
);
