//! Lengths of time as people write them: `72h`, `1h30m`, `45s`.

use std::time::Duration;

/// The longest time that can be written: ten years.
const MAX: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Reads a sum of whole numbers, each with its unit: `d`, `h`, `m`, `s` or `ms`.
///
/// # Errors
///
/// A sentence that says what is accepted, when the text is anything else, zero,
/// or above ten years.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "use a time like 72h, 30m, 1h30m or 45s (units: d, h, m, s, ms)".to_owned();
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, tail) = rest.split_at(digits);
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let milliseconds = match unit {
            "d" => 86_400_000,
            "h" => 3_600_000,
            "m" => 60_000,
            "s" => 1_000,
            "ms" => 1,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(milliseconds).ok_or_else(wrong)?;
        total = total
            .checked_add(Duration::from_millis(part))
            .ok_or_else(wrong)?;
        rest = tail;
    }
    if total.is_zero() {
        return Err("the time must be longer than zero".to_owned());
    }
    if total > MAX {
        return Err("the time must be at most ten years".to_owned());
    }
    Ok(total)
}

/// Writes a time as [`parse`] reads it, in the largest units that fit.
#[must_use]
pub fn text(time: Duration) -> String {
    let mut text = String::new();
    let mut rest = time.as_millis();
    for (unit, milliseconds) in [
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ] {
        if rest >= milliseconds {
            text.push_str(&format!("{}{unit}", rest / milliseconds));
            rest %= milliseconds;
        }
    }
    if text.is_empty() {
        text.push_str("0s");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_people_write_them() {
        for written in ["3d", "1h30m", "45s", "30d", "1d1h1m1s1ms", "250ms"] {
            assert_eq!(text(parse(written).unwrap()), written);
        }
        assert_eq!(text(parse("72h").unwrap()), "3d");
        assert_eq!(text(Duration::ZERO), "0s");
    }

    #[test]
    fn reads_what_people_write_and_nothing_else() {
        let accepted = [
            ("72h", 72 * 3_600_000),
            ("30m", 1_800_000),
            ("45s", 45_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            (" 250ms ", 250),
        ];
        for (text, milliseconds) in accepted {
            assert_eq!(
                parse(text),
                Ok(Duration::from_millis(milliseconds)),
                "{text}"
            );
        }
        for text in [
            "",
            "72",
            "h",
            "1.5h",
            "-1h",
            "1 h",
            "0s",
            "1w",
            "9999999999999999999999s",
            "18446744073709551615d",
            "4000d",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
