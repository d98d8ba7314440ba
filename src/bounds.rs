//! Whole numbers whose bounds are narrower than their type's. Where a number is expected and
//! something else was sent, the answer names the bounds that hold, not those of the type.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::Deserialize as _;
use serde::de::{Deserializer, Error, Unexpected, Visitor};

/// Reads an optional number from `LEAST` to `MOST`. One outside of them that the type can hold is
/// left to the code that checks it, which knows more about it.
///
/// # Errors
///
/// The deserializer's, which names the bounds.
pub(crate) fn within<'de, D, N, const LEAST: u64, const MOST: u64>(
    deserializer: D,
) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    let number = Option::<Number<N, LEAST, MOST>>::deserialize(deserializer)?;
    Ok(number.map(|number| number.0))
}

/// The same of an argument on the command line.
///
/// # Errors
///
/// The bounds.
pub(crate) fn number<N: FromStr, const LEAST: u64, const MOST: u64>(
    text: &str,
) -> Result<N, String> {
    text.parse()
        .map_err(|_| format!("a whole number from {LEAST} to {MOST} is expected"))
}

struct Number<N, const LEAST: u64, const MOST: u64>(N);

impl<'de, N, const LEAST: u64, const MOST: u64> serde::Deserialize<'de> for Number<N, LEAST, MOST>
where
    N: TryFrom<u64>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(Bounds::<N, LEAST, MOST>(PhantomData))
    }
}

struct Bounds<N, const LEAST: u64, const MOST: u64>(PhantomData<N>);

impl<N, const LEAST: u64, const MOST: u64> Visitor<'_> for Bounds<N, LEAST, MOST>
where
    N: TryFrom<u64>,
{
    type Value = Number<N, LEAST, MOST>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a whole number from {LEAST} to {MOST}")
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        N::try_from(number)
            .map(Number)
            .map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(number), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[serde(default, deserialize_with = "within::<_, _, 1, 60>")]
        seconds: Option<u16>,
    }

    #[test]
    fn an_error_names_the_bounds_that_hold_and_not_those_of_the_type() {
        for wrong in [
            json!("soon"),
            json!(-1),
            json!(65_536),
            json!(1.5),
            json!([1]),
        ] {
            let read = serde_json::from_value::<Sample>(json!({ "seconds": wrong }));
            let error = read.expect_err("it is no number that fits").to_string();
            let expected = "expected a whole number from 1 to 60";
            assert!(error.ends_with(expected), "{wrong}: {error}");
        }
        let read = |value| serde_json::from_value::<Sample>(value).map(|read| read.seconds);
        assert_eq!(read(json!({})).ok(), Some(None));
        assert_eq!(read(json!({ "seconds": null })).ok(), Some(None));
        assert_eq!(read(json!({ "seconds": 7 })).ok(), Some(Some(7)));
        // What the type can hold is checked where more is known.
        assert_eq!(read(json!({ "seconds": 61 })).ok(), Some(Some(61)));
    }
}
