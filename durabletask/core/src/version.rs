//! Comparing versions.

use std::cmp::Ordering;

/// Compares two versions: numbers part by part where both are dotted numbers, otherwise the
/// texts without regard to case. No version at all is older than any.
///
/// ```
/// use std::cmp::Ordering;
/// use durabletask::compare_versions;
///
/// assert_eq!(compare_versions("2", "10"), Ordering::Less);
/// assert_eq!(compare_versions("1", "1.0.0"), Ordering::Equal);
/// assert_eq!(compare_versions("", "0.1"), Ordering::Less);
/// ```
#[must_use]
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (a.is_empty(), b.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Less,
        (false, true) => return Ordering::Greater,
        (false, false) => {}
    }
    match (numbers(a), numbers(b)) {
        (Some(a), Some(b)) => {
            let length = a.len().max(b.len());
            let part = |numbers: &[u64], index: usize| numbers.get(index).copied().unwrap_or(0);
            (0..length)
                .map(|index| part(&a, index).cmp(&part(&b, index)))
                .find(|order| order.is_ne())
                .unwrap_or(Ordering::Equal)
        }
        _ => a.to_lowercase().cmp(&b.to_lowercase()),
    }
}

fn numbers(version: &str) -> Option<Vec<u64>> {
    version.split('.').map(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_numbers() {
        for (older, newer) in [
            ("", "0.1"),
            ("1.9", "1.10"),
            ("1", "1.0.1"),
            ("2.0", "10"),
            ("Alpha", "beta"),
            ("1.0", "1.0-rc"),
        ] {
            assert_eq!(
                compare_versions(older, newer),
                Ordering::Less,
                "{older} {newer}"
            );
            assert_eq!(
                compare_versions(newer, older),
                Ordering::Greater,
                "{older} {newer}"
            );
        }
        for (a, b) in [("", ""), ("1", "1.0.0"), ("Rev-A", "rev-a")] {
            assert_eq!(compare_versions(a, b), Ordering::Equal, "{a} {b}");
        }
    }
}
