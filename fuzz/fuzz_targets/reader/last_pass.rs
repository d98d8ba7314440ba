//! LastPass Authenticator.

#![no_main]

countersign_fuzz::json_reader!(
    "lastpass-authenticator.json",
);
