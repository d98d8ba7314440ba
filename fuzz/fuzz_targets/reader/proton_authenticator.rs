//! Proton Authenticator.

#![no_main]

countersign_fuzz::json_reader!(
    "proton-authenticator.json",
    "proton-authenticator-encrypted.json",
);
