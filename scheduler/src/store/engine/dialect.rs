//! The statements' SQL as PostgreSQL has it.

/// What only SQLite needs to hear: its planner has no statistics and would guess.
const HINTS: [&str; 2] = ["INDEXED BY ", "NOT INDEXED"];

/// A statement in PostgreSQL's form: numbered parameters are written in another way, hints are left
/// out, and what exists already is passed over in other words.
pub(super) fn translate(sql: &str) -> String {
    let mut text = sql.to_owned();
    for hint in HINTS {
        while let Some(at) = text.find(hint) {
            let rest = at + hint.len();
            // The name of an index follows, if anything does.
            let name = match hint.ends_with(' ') {
                true => text[rest..]
                    .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                    .unwrap_or(text.len() - rest),
                false => 0,
            };
            text.replace_range(at..rest + name, "");
        }
    }
    // To SQLite it is an order in which to join.
    text = text.replace("CROSS JOIN", "JOIN");
    if let Some(insert) = text.strip_prefix("INSERT OR IGNORE ") {
        text = format!("INSERT {insert} ON CONFLICT DO NOTHING");
    }
    numbered(&text)
}

/// `?1` becomes `$1`; a `?` without a number has the next one.
fn numbered(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len() + 8);
    let mut chars = sql.chars().peekable();
    let mut last = 0;
    let mut quoted = false;
    while let Some(c) = chars.next() {
        quoted ^= c == '\'';
        if c != '?' || quoted {
            out.push(c);
            continue;
        }
        out.push('$');
        if !chars.peek().is_some_and(char::is_ascii_digit) {
            last += 1;
            out.push_str(&last.to_string());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_sqlite_has_is_said_in_other_words() {
        for (sqlite, postgres) in [
            (
                "SELECT a FROM b WHERE c = ?2",
                "SELECT a FROM b WHERE c = $2",
            ),
            ("a = ? AND b IN (?, ?)", "a = $1 AND b IN ($2, $3)"),
            ("a = '?' AND b = ?", "a = '?' AND b = $1"),
            (
                "SELECT 1 FROM i INDEXED BY i_by_x WHERE a = ?1",
                "SELECT 1 FROM i  WHERE a = $1",
            ),
            ("FROM i NOT INDEXED WHERE", "FROM i  WHERE"),
            (
                "FROM a CROSS JOIN b ON b.k = a.k",
                "FROM a JOIN b ON b.k = a.k",
            ),
            (
                "INSERT OR IGNORE INTO t (a) VALUES (?1)",
                "INSERT INTO t (a) VALUES ($1) ON CONFLICT DO NOTHING",
            ),
        ] {
            assert_eq!(translate(sqlite), postgres);
        }
    }
}
