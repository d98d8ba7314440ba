//! Stratum, encrypted.

#![no_main]

countersign_fuzz::file_reader!(
    "stratum-encrypted.stratum",
    "stratum-earlier.authpro",
);
