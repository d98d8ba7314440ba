//! Aegis.

#![no_main]

countersign_fuzz::json_reader!(
    "aegis-plain.json",
    "aegis-encrypted.json",
);
