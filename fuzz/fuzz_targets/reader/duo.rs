//! Duo Mobile.

#![no_main]

countersign_fuzz::json_reader!(
    "duo.json",
);
