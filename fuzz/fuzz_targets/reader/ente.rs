//! Ente Auth.

#![no_main]

countersign_fuzz::json_reader!(
    "ente-encrypted.json",
);
