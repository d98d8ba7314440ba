//! Enpass.

#![no_main]

countersign_fuzz::json_reader!(
    "enpass.json",
);
