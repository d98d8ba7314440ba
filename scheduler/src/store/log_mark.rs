//! The schema step with the table in which a file notes that it is in use, which
//! [`durabletask_sqlite`] reads and writes.

/// The table, with its one row.
pub(super) const STEP: &str = "
CREATE TABLE run (open INTEGER NOT NULL);
INSERT INTO run (open) VALUES (0);
";
