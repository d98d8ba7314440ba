//! The icons of services: a pack in the program, of which the page loads what it shows.
//!
//! The pack is divided into shelves by a hash of a service's name, and an address names a shelf.
//! So neither an address nor a log of addresses tells which services a user has accounts with:
//! each shelf has a dozen of them.

use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::FrontDoor;

/// Where each shelf begins and the last one ends, as little-endian numbers of 32 bits; then the
/// shelves, each a JSON document in gzip. Made by `web/icons/make.mjs`.
const PACK: &[u8] = include_bytes!("../../web/icons/pack.bin");

/// A shelf's file is named by its number.
const SUFFIX: &str = ".json.gz";

/// Icons do not change while a program runs, and an old one does no harm.
const KEPT: &str = "public, max-age=604800";

pub(super) fn router() -> Router<Arc<FrontDoor>> {
    Router::new().route("/icons/{shelf}", get(serve))
}

async fn serve(Path(name): Path<String>) -> Response {
    match named(&name).and_then(shelf) {
        Some(bytes) => {
            // A file in gzip and not gzip on the way: it is the page that unpacks it.
            let headers = [
                (header::CONTENT_TYPE, "application/gzip"),
                (header::CACHE_CONTROL, KEPT),
            ];
            (headers, bytes).into_response()
        }
        None => (StatusCode::NOT_FOUND, "There is no such shelf of icons.\n").into_response(),
    }
}

/// The number of a shelf by the name of its file: two hexadecimal digits.
fn named(file: &str) -> Option<u8> {
    let digits = file.strip_suffix(SUFFIX)?;
    let plain = digits.len() == 2
        && digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

fn shelf(number: u8) -> Option<&'static [u8]> {
    let place = |number: usize| {
        let bytes = PACK.get(4 * number..)?.first_chunk()?;
        usize::try_from(u32::from_le_bytes(*bytes)).ok()
    };
    PACK.get(place(number.into())?..place(usize::from(number) + 1)?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io::Read as _;

    use flate2::read::GzDecoder;
    use serde_json::Value;

    use super::*;

    /// What is on a shelf: colour and drawing for each name.
    fn on(number: u8) -> HashMap<String, (String, String)> {
        let mut text = String::new();
        let mut packed = GzDecoder::new(shelf(number).unwrap());
        packed.read_to_string(&mut text).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// FNV-1a of a name's characters, as in `web/icon-key.js`.
    fn place(name: &str) -> u8 {
        let hash = name.chars().fold(0x811c_9dc5_u32, |hash, character| {
            (hash ^ u32::from(character)).wrapping_mul(0x0100_0193)
        });
        hash.to_le_bytes()[0]
    }

    #[test]
    fn every_icon_is_on_the_shelf_of_its_name_and_is_a_drawing() {
        let mut seen = 0_u64;
        for number in 0..=u8::MAX {
            for (name, (colour, drawing)) in on(number) {
                assert_eq!(place(&name), number, "{name}");
                assert!(colour.len() == 6 && colour.bytes().all(|b| b.is_ascii_hexdigit()));
                let shape = |b: u8| b.is_ascii_alphanumeric() || b" .,-+".contains(&b);
                assert!(drawing.bytes().all(shape), "{name}: {drawing}");
                seen += 1;
            }
        }
        let about: Value = serde_json::from_str(include_str!("../../web/icons/pack.json")).unwrap();
        assert_eq!(about["names"], seen);
        assert_eq!(about["bytes"], PACK.len());
        assert_eq!(about["license"], "CC0-1.0");
        assert!(on(place("github")).contains_key("github"));
    }

    #[test]
    fn no_shelf_tells_a_service_by_being_asked_for() {
        for number in 0..=u8::MAX {
            assert!(on(number).len() >= 3, "{number}");
        }
    }

    #[test]
    fn only_shelves_are_served() {
        assert_eq!(named("0f.json.gz"), Some(15));
        for wrong in [
            "0F.json.gz",
            "f.json.gz",
            "00f.json.gz",
            "+f.json.gz",
            "0f.json",
            "",
            "é.json.gz",
        ] {
            assert_eq!(named(wrong), None, "{wrong}");
        }
    }
}
