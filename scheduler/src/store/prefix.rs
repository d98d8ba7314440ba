//! Instances whose ids have a prefix.

use super::engine::Connection;

use super::StoreError;

/// From how many instances on a prefix is not rare.
const MANY: i64 = 2_000;

/// Whether so few instances have ids with this prefix that they can all be sorted.
pub(super) fn is_rare(conn: &Connection, hub: i64, prefix: &str) -> Result<bool, StoreError> {
    let (end, condition) = match after_prefix(prefix) {
        Some(end) => (end, "id < ?3"),
        None => (String::new(), "?3 = ''"),
    };
    let count: i64 = conn
        .prepare_cached(&format!(
            "SELECT count(*) FROM (SELECT 1 FROM instances INDEXED BY instances_by_id
             WHERE hub = ?1 AND id >= ?2 AND {condition} LIMIT ?4) AS few"
        ))?
        .query_row((hub, prefix, end, MANY), |row| row.get(0))?;
    Ok(count < MANY)
}

/// The first text after all texts that begin with `prefix`, if there is one.
pub(super) fn after_prefix(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        // The step over the surrogates is the only gap among the characters.
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            other => char::from_u32(u32::from(other) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_with_a_prefix_ends_before_its_successor() {
        assert_eq!(after_prefix("ab").as_deref(), Some("ac"));
        assert_eq!(after_prefix("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(after_prefix("\u{d7ff}").as_deref(), Some("\u{e000}"));
        assert_eq!(after_prefix("\u{10ffff}"), None);
        assert_eq!(after_prefix(""), None);
    }
}
