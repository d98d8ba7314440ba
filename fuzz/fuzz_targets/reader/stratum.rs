//! Stratum, plain.

#![no_main]

countersign_fuzz::json_reader!(
    "stratum.json",
);
