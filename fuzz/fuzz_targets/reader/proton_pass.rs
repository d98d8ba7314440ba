//! Proton Pass.

#![no_main]

countersign_fuzz::json_reader!(
    "proton-pass.json",
);
