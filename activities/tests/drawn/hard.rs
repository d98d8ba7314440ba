//! All hard images: those spoiled in one way, and those that a camera, a scanner or an app made.

use image::{DynamicImage, ImageFormat};

use super::encoded;
use super::photo::{self, Dice};
use super::scenes;

/// A hard image.
pub(crate) struct Hard {
    pub(crate) kind: &'static str,
    pub(crate) number: usize,
    /// What its codes say.
    pub(crate) texts: Vec<String>,
    pub(crate) bytes: Vec<u8>,
}

impl Hard {
    pub(crate) fn extension(&self) -> &'static str {
        if self.bytes.starts_with(b"\x89PNG") {
            "png"
        } else {
            "jpg"
        }
    }
}

/// How many of each kind there are, from mild to severe.
pub(crate) const OF_EACH: usize = 12;

/// Those of each kind whose number is in the range, every so many.
pub(crate) fn hard(every: usize) -> impl Iterator<Item = Hard> {
    let numbers = move || (0..OF_EACH).step_by(every);
    let single = photo::KINDS.into_iter().enumerate();
    let single = single.flat_map(move |(index, (kind, take))| {
        numbers().map(move |number| {
            let mut dice = Dice::new((index * 100 + number + 1) as u64);
            let text = account(index, number);
            let picture = DynamicImage::ImageLuma8(take(&text, badness(number), &mut dice));
            let format = if number.is_multiple_of(3) {
                ImageFormat::Png
            } else {
                ImageFormat::Jpeg
            };
            Hard {
                kind,
                number,
                texts: vec![text],
                bytes: encoded(&picture, format),
            }
        })
    });
    let whole = scenes::KINDS.into_iter().enumerate();
    let whole = whole.flat_map(move |(index, (kind, content, take))| {
        numbers().map(move |number| {
            let mut dice = Dice::new((5_000 + index * 100 + number) as u64);
            let bad = badness(number);
            let texts = content.texts(|code| account(20 + index, number + OF_EACH * code), bad);
            let bytes = take(&texts, bad, &mut dice);
            Hard {
                kind,
                number,
                texts,
                bytes,
            }
        })
    });
    single.chain(whole)
}

fn badness(number: usize) -> f32 {
    number as f32 / (OF_EACH - 1) as f32
}

/// No two are alike.
fn account(index: usize, number: usize) -> String {
    let letter = |value: usize| char::from(b'A' + (value % 26) as u8);
    let name: String = if number < 26 && index < 26 {
        [index, number].map(letter).iter().collect()
    } else {
        [index, number / 26, number].map(letter).iter().collect()
    };
    format!(
        "otpauth://totp/Example:{name}@example.com?secret=GEZDGNBVGY3TQOJQ{name}ZDGNBVGY3TQOJQ&issuer=Example"
    )
}
