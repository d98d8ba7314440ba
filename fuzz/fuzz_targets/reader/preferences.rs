//! What Android apps keep: Authy.

#![no_main]

countersign_fuzz::file_reader!(
    "authy.xml",
);
