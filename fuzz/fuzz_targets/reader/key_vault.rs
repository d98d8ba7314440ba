//! Key Vault.

#![no_main]

countersign_fuzz::json_reader!(
    "key-vault.json",
    "key-vault-list.json",
);
