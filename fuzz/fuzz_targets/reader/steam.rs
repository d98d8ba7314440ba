//! Steam's accounts.

#![no_main]

countersign_fuzz::json_reader!(
    "steam.maFile",
    "steam-app.json",
);
