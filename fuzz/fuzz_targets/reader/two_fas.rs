//! 2FAS.

#![no_main]

countersign_fuzz::json_reader!(
    "2fas.json",
    "2fas-encrypted.json",
);
