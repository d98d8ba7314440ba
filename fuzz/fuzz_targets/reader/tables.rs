//! Tables of password managers.

#![no_main]

countersign_fuzz::file_reader!(
    "bitwarden.csv",
    "1password.csv",
    "keepassxc.csv",
    "apple-passwords.csv",
    "dashlane.csv",
    "enpass.csv",
    "roboform.csv",
    "table.csv",
);
