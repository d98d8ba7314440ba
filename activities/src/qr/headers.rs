//! How often a code says that it is a part of a set.

use rxing::common::BitMatrix;
use rxing::qrcode::decoder::qrcode_decoder;

/// Counts the headers of structured append among the segments of a code (ISO/IEC 18004, section
/// 7.4); nothing if they cannot be determined. More than one contradict each other, and decoders believe
/// the last.
pub(super) fn count(modules: &BitMatrix) -> Option<usize> {
    let decoded = qrcode_decoder::decode_bitmatrix(modules).ok()?;
    let version = modules.width().checked_sub(17)? / 4;
    Segments {
        bytes: decoded.getRawBytes(),
        at: 0,
    }
    .headers(version)
}

/// The data of a code, bit by bit.
struct Segments<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Segments<'_> {
    fn headers(mut self, version: u32) -> Option<usize> {
        // The bits of a character count, by range of versions.
        let range = match version {
            ..=9 => 0,
            10..=26 => 1,
            _ => 2,
        };
        let mut headers = 0;
        while let Some(mode) = self.take(4) {
            match mode {
                0 => break,
                1 => {
                    let digits = self.take([10, 12, 14][range])?;
                    self.skip(digits / 3 * 10 + [0, 4, 7][digits % 3])?;
                }
                2 => {
                    let characters = self.take([9, 11, 13][range])?;
                    self.skip(characters / 2 * 11 + characters % 2 * 6)?;
                }
                3 => {
                    headers += 1;
                    self.skip(16)?;
                }
                4 => {
                    let bytes = self.take([8, 16, 16][range])?;
                    self.skip(bytes * 8)?;
                }
                5 => {}
                7 => {
                    let first = self.take(8)?;
                    self.skip(match first {
                        ..0x80 => 0,
                        0x80..0xc0 => 8,
                        _ => 16,
                    })?;
                }
                8 => {
                    let characters = self.take([8, 10, 12][range])?;
                    self.skip(characters * 13)?;
                }
                9 => self.skip(8)?,
                13 => {
                    self.skip(4)?;
                    let characters = self.take([8, 10, 12][range])?;
                    self.skip(characters * 13)?;
                }
                _ => return None,
            }
        }
        Some(headers)
    }

    /// The next bits as a number; nothing if there are not so many.
    fn take(&mut self, bits: usize) -> Option<usize> {
        let start = self.at;
        self.skip(bits)?;
        let bit = |at: usize| {
            let byte = self.bytes.get(at / 8).copied().unwrap_or_default();
            usize::from(byte >> (7 - at % 8) & 1)
        };
        Some((start..self.at).fold(0, |number, at| number << 1 | bit(at)))
    }

    fn skip(&mut self, bits: usize) -> Option<()> {
        let end = self.at.checked_add(bits)?;
        (end <= self.bytes.len() * 8).then(|| self.at = end)
    }
}
