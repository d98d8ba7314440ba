//! Keys, grants and sessions on their way between a data folder and the shared database.

use countersign_database::tables::{Column, Kind, Table};

/// Their tables. Login links, which are valid for minutes, are in memory in a folder and stay
/// behind.
pub(crate) const TABLES: &[Table] = &[
    Table {
        rows: "keys",
        shared: "access_keys",
        folder: "keys",
        columns: &[
            Column::text("id"),
            Column::text("name"),
            Column::text("role"),
            Column::bytes("hash"),
            Column::of("created_at", Kind::Moment),
            Column::of("revoked_at", Kind::Moment),
            Column::of("expires_at", Kind::Moment),
            Column::of("last_used_at", Kind::Moment),
            Column::of("granted_only", Kind::Flag),
            Column::of("member_of", Kind::Names),
            Column::bytes("former_hash"),
            Column::of("former_until", Kind::Moment),
        ],
        key: 1,
        numbered: false,
    },
    Table {
        rows: "callers who made keys",
        shared: "access_makers",
        folder: "makers",
        columns: &[Column::text("name"), Column::text("maker")],
        key: 1,
        numbered: false,
    },
    Table {
        rows: "grants",
        shared: "access_grants",
        folder: "grants",
        columns: &[
            Column::number("id"),
            Column::text("kind"),
            Column::text("grantee"),
            Column::text("account"),
            Column::number("until"),
            Column::number("reads_granted"),
            Column::number("reads_left"),
        ],
        key: 1,
        numbered: true,
    },
    Table {
        rows: "accounts read with an approval only",
        shared: "access_guarded",
        folder: "guarded",
        columns: &[Column::text("account")],
        key: 1,
        numbered: false,
    },
    Table {
        rows: "browser sessions",
        shared: "access_sessions",
        folder: "sessions",
        columns: &[
            Column::bytes("id"),
            Column::text("subject"),
            Column::number("until"),
        ],
        key: 1,
        numbered: false,
    },
];
