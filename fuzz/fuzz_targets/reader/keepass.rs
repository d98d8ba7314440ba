//! KeePass and KeePassXC.

#![no_main]

countersign_fuzz::file_reader!(
    "keepass.xml",
    "keepassxc.xml",
);
