//! The codes in all frames of an animation, and on all pages of a TIFF.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::ControlFlow;
use std::time::Instant;

use countersign_enrollment::code_parts::{self, CodePart};
use countersign_enrollment::region::Region;

use super::{Payload, ScanResult, Step, area, cascade};
use crate::images::{self, DecodedImage, Plane, ReadLimits, UploadFormat};

/// Frames or pages that are searched, at most, with the first.
const MAX_SEARCHED: usize = 16;
/// A difference of brightness that can be seen.
const VISIBLE: u8 = 24;
/// A frame shows the same as the last if fewer pixels differ than one in so many: a pointer
/// changes fewer, another code more.
const SAME: usize = 2_000;

/// Adds what the frames or pages after the first say to what was found in that.
pub(super) fn add_further(
    bytes: &[u8],
    first: DecodedImage,
    limits: &ReadLimits,
    found: ScanResult,
    deadline: Instant,
) -> ScanResult {
    let info = first.info;
    let is_animation = info.format != UploadFormat::Tiff;
    let mut known = vec![hash_of(&first.on_white)];
    let mut last = first.on_white;
    let mut further: Vec<ScanResult> = Vec::new();
    let pages = images::further(bytes, info, limits, &mut |frame| {
        let hash = hash_of(&frame.on_white);
        if known.contains(&hash) || is_animation && shows_the_same(&last, &frame.on_white) {
            return ControlFlow::Continue(());
        }
        if known.len() >= MAX_SEARCHED || Instant::now() >= deadline {
            return ControlFlow::Break(());
        }
        known.push(hash);
        further.push(cascade::read(&frame, deadline));
        last = frame.on_white;
        ControlFlow::Continue(())
    });
    let mut all = joined(found, further, is_animation);
    all.pages = pages;
    all
}

fn hash_of(plane: &Plane) -> u64 {
    let mut hasher = DefaultHasher::new();
    (plane.width(), plane.height(), plane.pixels()).hash(&mut hasher);
    hasher.finish()
}

fn shows_the_same(one: &Plane, other: &Plane) -> bool {
    if (one.width(), one.height()) != (other.width(), other.height()) {
        return false;
    }
    let pixels = one.pixels().iter().zip(other.pixels());
    let differing = pixels.filter(|(one, other)| one.abs_diff(**other) > VISIBLE);
    differing.count() * SAME < one.pixels().len()
}

/// Everything that was found. Places are those of the first frame or page.
fn joined(first: ScanResult, further: Vec<ScanResult>, is_animation: bool) -> ScanResult {
    let mut all = first;
    if further.is_empty() {
        return all;
    }
    let regions_of = |found: &ScanResult| -> Vec<Region> {
        let payloads = found.payloads.iter().filter_map(Payload::region);
        payloads
            .chain(found.parts.iter().filter_map(|part| part.region))
            .collect()
    };
    let read: Vec<Region> = std::iter::once(&all)
        .chain(&further)
        .flat_map(regions_of)
        .collect();
    // A code that one frame shows out of focus, another may show well, at about its place.
    let is_unread = |region: &Region| {
        !is_animation || !read.iter().any(|read| read.overlap(region) > area::SAME)
    };
    all.unread.retain(is_unread);
    all.payloads.retain(|payload| !payload.is_joined);
    for found in further {
        all.cut_short |= found.cut_short;
        let unread = found.unread.iter().filter(|it| is_unread(it));
        all.unread_elsewhere += unread.count();
        all.out_of_time |= found.out_of_time;
        for payload in found.payloads.into_iter().filter(|it| !it.is_joined) {
            if !all.payloads.iter().any(|it| it.text == payload.text) {
                all.payloads.push(Payload {
                    region: None,
                    ..payload
                });
            }
        }
        for part in found.parts {
            if !all.parts.iter().any(|known| known.is_same(&part)) {
                all.parts.push(CodePart {
                    region: None,
                    ..part
                });
            }
        }
    }
    let gathered = code_parts::gather(&all.parts);
    for joined in gathered.joined {
        if !all.payloads.iter().any(|it| *it.text == *joined.text) {
            all.payloads.push(Payload {
                text: joined.text,
                step: Step::Native,
                region: joined.region,
                is_joined: true,
            });
        }
    }
    all.split = gathered.problems;
    all
}
