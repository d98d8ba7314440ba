//! ZIP archives, also encrypted.

#![no_main]

countersign_fuzz::file_reader!(
    "1password.1pux",
    "raivo-encrypted.zip",
);
