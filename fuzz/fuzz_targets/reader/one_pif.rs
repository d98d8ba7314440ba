//! 1Password's 1PIF.

#![no_main]

countersign_fuzz::file_reader!(
    "1password.1pif",
);
