//! 2FAuth.

#![no_main]

countersign_fuzz::json_reader!(
    "2fauth.json",
    "2fauth-uris.json",
);
