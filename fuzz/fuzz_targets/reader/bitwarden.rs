//! Bitwarden.

#![no_main]

countersign_fuzz::json_reader!(
    "bitwarden.json",
    "bitwarden-protected.json",
    "bitwarden-protected-argon2.json",
);
