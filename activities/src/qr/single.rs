//! Each decoder on its own, for measuring what it adds. The cascade is what reads uploads.

use std::fmt;
use std::time::Instant;

use zeroize::Zeroizing;

use super::symbols::{self, Symbol};
use super::{bits, fallback};
use crate::images::DecodedImage;

/// One decoder, once, at full size on white.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Single {
    /// rxing's port of zxing-cpp with local thresholds.
    Rxing,
    /// quircs.
    Quircs,
    /// rqrr. It has no bounds of its own: not for images from anyone.
    Rqrr,
}

impl Single {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Rxing, Self::Quircs, Self::Rqrr];

    /// What it reads, until the deadline, for decoders that accept one.
    #[must_use]
    pub fn read(self, picture: &DecodedImage, deadline: Instant) -> Vec<Zeroizing<String>> {
        let plane = &picture.on_white;
        let read = match self {
            Self::Rxing => bits::local(plane)
                .map(|bits| symbols::read(bits, deadline).read)
                .unwrap_or_default(),
            Self::Quircs => fallback::find_with_quircs(plane, deadline),
            Self::Rqrr => fallback::find_with_rqrr(plane),
        };
        read.into_iter()
            .map(|Symbol { said, .. }| said.text())
            .collect()
    }
}

impl fmt::Display for Single {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rxing => "rxing",
            Self::Quircs => "quircs",
            Self::Rqrr => "rqrr",
        })
    }
}
