//! How many frames or pages a file says that it has, without decoding any.

use super::UploadFormat;

/// Frames and pages that are counted, at most.
pub(super) const MOST: usize = 100_000;

/// The number of frames of an animation or of pages of a TIFF, at least one. What is damaged is
/// counted as far as it can be followed.
pub(super) fn frames(bytes: &[u8], format: UploadFormat) -> usize {
    let count = match format {
        UploadFormat::Gif => gif(bytes).map(Iterator::count),
        UploadFormat::Png => png(bytes),
        UploadFormat::WebP => Some(webp(bytes).count()),
        UploadFormat::Tiff => Some(directories(bytes).len()),
        UploadFormat::Jpeg | UploadFormat::Bmp | UploadFormat::Pnm => None,
    };
    count.unwrap_or(1).clamp(1, MOST)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// The frames of an APNG, as its animation control says (PNG, third edition, section 11.3.6).
fn png(bytes: &[u8]) -> Option<usize> {
    let mut at = 8;
    // What says so stands before the first data.
    for _ in 0..1_000 {
        let length = u32::from_be_bytes(array(bytes, at)?) as usize;
        match &array::<4>(bytes, at + 4)? {
            b"acTL" => return Some(u32::from_be_bytes(array(bytes, at + 8)?) as usize),
            b"IDAT" => return None,
            _ => at = at.checked_add(length)?.checked_add(12)?,
        }
    }
    None
}

/// The places of a WebP's frames (RFC 9649, section 2.7).
fn webp(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let mut at = 12;
    let chunks = std::iter::from_fn(move || {
        let (place, name) = (at, array::<4>(bytes, at)?);
        let length = u32::from_le_bytes(array(bytes, at + 4)?) as usize;
        at = at
            .checked_add(8)?
            .checked_add(length.checked_next_multiple_of(2)?)?;
        Some((place, name))
    });
    chunks.filter(|(_, name)| name == b"ANMF").map(|(at, _)| at)
}

/// The places of a GIF's images (GIF89a, appendix B).
fn gif(bytes: &[u8]) -> Option<impl Iterator<Item = usize>> {
    let palette = |flags: u8| {
        let is_there = flags & 0x80 != 0;
        if is_there { 3 << ((flags & 7) + 1) } else { 0 }
    };
    let mut at = 13 + palette(*bytes.get(10)?);
    // Blocks of data end with an empty one.
    let after = |mut at: usize| {
        loop {
            match *bytes.get(at)? {
                0 => return Some(at + 1),
                length => at += 1 + usize::from(length),
            }
        }
    };
    let blocks = std::iter::from_fn(move || {
        loop {
            let place = at;
            match *bytes.get(at)? {
                // An extension.
                0x21 => at = after(at + 2)?,
                // An image: its place and size, its palette, the size of its codes, its data.
                0x2c => {
                    at = after(at + 11 + palette(*bytes.get(at + 9)?)).unwrap_or(bytes.len());
                    return Some(place);
                }
                _ => return None,
            }
        }
    });
    Some(blocks)
}

/// Where the directories of a TIFF are, as their places are written there. They form a chain.
pub(super) fn directories(bytes: &[u8]) -> Vec<[u8; 4]> {
    /// Directories that are followed, at most.
    const MOST: usize = 1_000;
    let is_little = bytes.starts_with(b"II");
    let number = |field: [u8; 4]| {
        let value = if is_little {
            u32::from_le_bytes(field)
        } else {
            u32::from_be_bytes(field)
        };
        usize::try_from(value).unwrap_or(usize::MAX)
    };
    let entries = |at: usize| {
        let field = array(bytes, at)?;
        Some(usize::from(if is_little {
            u16::from_le_bytes(field)
        } else {
            u16::from_be_bytes(field)
        }))
    };
    let mut places: Vec<[u8; 4]> = Vec::new();
    let mut next = array(bytes, 4);
    while let Some(place) = next {
        let at = number(place);
        if at == 0 || places.contains(&place) || places.len() >= MOST {
            break;
        }
        let Some(count) = entries(at) else { break };
        places.push(place);
        // Twelve bytes an entry, after their number.
        next = at
            .checked_add(2 + 12 * count)
            .and_then(|at| array(bytes, at));
    }
    places
}
