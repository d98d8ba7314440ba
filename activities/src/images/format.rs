//! The formats that are read, and the ones that are refused by name.

use image::ImageFormat;

use super::ImageProblem;

/// An image format that is read here. It is judged by the first bytes, never by a file name or a
/// declared media type: wrong ones are common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadFormat {
    /// Portable Network Graphics.
    Png,
    /// JPEG.
    Jpeg,
    /// GIF, animated or not.
    Gif,
    /// WebP, with and without loss, animated or not.
    WebP,
    /// Windows bitmap.
    Bmp,
    /// TIFF, of one page or several.
    Tiff,
    /// Netpbm: PBM, PGM, PPM and PAM, as text or in binary form.
    Pnm,
}

impl UploadFormat {
    /// Tells the format of these bytes.
    ///
    /// # Errors
    ///
    /// [`ImageProblem::Empty`] without any byte, otherwise [`ImageProblem::Unsupported`] with
    /// the name of what the bytes look like.
    pub fn of(bytes: &[u8]) -> Result<Self, ImageProblem> {
        if bytes.is_empty() {
            return Err(ImageProblem::Empty);
        }
        match image::guess_format(bytes) {
            Ok(ImageFormat::Png) => Ok(Self::Png),
            Ok(ImageFormat::Jpeg) => Ok(Self::Jpeg),
            Ok(ImageFormat::Gif) => Ok(Self::Gif),
            Ok(ImageFormat::WebP) => Ok(Self::WebP),
            Ok(ImageFormat::Bmp) => Ok(Self::Bmp),
            Ok(ImageFormat::Tiff) => Ok(Self::Tiff),
            Ok(ImageFormat::Pnm) => Ok(Self::Pnm),
            _ => Err(ImageProblem::Unsupported {
                format: name_of(bytes),
            }),
        }
    }

    /// The media type, for example `image/png`.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        self.decoder().to_mime_type()
    }

    pub(super) fn decoder(self) -> ImageFormat {
        match self {
            Self::Png => ImageFormat::Png,
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Gif => ImageFormat::Gif,
            Self::WebP => ImageFormat::WebP,
            Self::Bmp => ImageFormat::Bmp,
            Self::Tiff => ImageFormat::Tiff,
            Self::Pnm => ImageFormat::Pnm,
        }
    }
}

/// Beginnings of formats that people do send, and their names.
const REFUSED: [(&[u8], &str); 11] = [
    (b"%PDF-", "PDF"),
    (&[0, 0, 1, 0], "ICO"),
    (&[0, 0, 2, 0], "ICO"),
    (b"\x1aE\xdf\xa3", "a video"),
    (b"PK\x03\x04", "a ZIP archive or office document"),
    (b"{\\rtf", "RTF"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"qoif", "QOI"),
    (b"8BPS", "a Photoshop document"),
    (&[0xff, 0x0a], "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
];

fn name_of(bytes: &[u8]) -> &'static str {
    if let Some((_, name)) = REFUSED.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return name;
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return base_media_name(bytes);
    }
    match countersign_enrollment::text::decode(bytes) {
        Ok(text) => text_name(&text),
        Err(unknown) if unknown.looks_like.contains("older") => "text in an older encoding",
        Err(_) => UNKNOWN,
    }
}

/// What is neither an image nor text, nor known.
const UNKNOWN: &str = "a file of an unknown kind";

/// ISO base media files name their kind in brands: the major one, then compatible ones
/// (ISO/IEC 14496-12 section 4.3).
fn base_media_name(bytes: &[u8]) -> &'static str {
    let brands = bytes.get(8..bytes.len().min(64)).unwrap_or_default();
    for brand in brands.chunks_exact(4) {
        match brand {
            b"avif" | b"avis" => return "AVIF",
            b"heic" | b"heix" | b"hevc" | b"hevx" | b"heim" | b"heis" => return "HEIC",
            _ => {}
        }
    }
    match brands.get(..4) {
        Some(b"mif1" | b"msf1") => "HEIF",
        _ => "a video",
    }
}

fn text_name(text: &str) -> &'static str {
    const HEAD: usize = 1_024;
    let text = countersign_enrollment::text::trim(text);
    if text.is_empty() {
        return "blank text";
    }
    if text.chars().any(|c| c.is_control() && !c.is_whitespace()) {
        return UNKNOWN;
    }
    let text: String = text.chars().take(HEAD).collect();
    let lower = text.to_ascii_lowercase();
    if lower.contains("<svg") || lower.contains("<!doctype svg") {
        "SVG"
    } else if lower.starts_with("<!doctype html") || lower.contains("<html") {
        "HTML"
    } else if lower.starts_with("<?xml") {
        "XML"
    } else {
        "text"
    }
}

#[cfg(test)]
mod tests {
    use countersign_enrollment::problem::InputProblem;

    use super::*;

    fn check(bytes: &[u8], expected: &str) {
        match UploadFormat::of(bytes) {
            Err(ImageProblem::Unsupported { format }) => {
                assert_eq!(format, expected);
                let format = format.to_owned();
                let told = InputProblem::ImageUnsupported { format }.detail();
                let is_sentence = told == format!("The image format {expected} is not supported.")
                    || ["a ", "an ", "text", "blank text"].iter().any(|what| {
                        let begin = format!("The file is {what}");
                        told.starts_with(&begin)
                            && told.ends_with(", which cannot be read as an image.")
                    });
                assert!(is_sentence, "{told}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn other_formats_are_refused_by_name() {
        check(b"\0\0\0\x1cftypavif\0\0\0\0mif1miaf", "AVIF");
        check(b"\0\0\0\x1cftypmif1\0\0\0\0mif1heic", "HEIC");
        check(b"\0\0\0\x14ftypmif1\0\0\0\0mif1", "HEIF");
        check(b"\0\0\0\x18ftypmp42\0\0\0\0isom", "a video");
        check(b"%PDF-1.7\n", "PDF");
        check(&[0, 0, 1, 0, 1, 0], "ICO");
        check(b"<?xml version=\"1.0\"?>\n<!DOCTYPE svg>", "SVG");
        check(b"\n <!doctype html><title>", "HTML");
        check(b"<?xml version=\"1.0\"?><note/>", "XML");
        check("otpauth fits no picture \u{e9}".as_bytes(), "text");
        check(&[1, 2, 3, 0xfe, 0xff], "a file of an unknown kind");
        check(b"caf\xe9 and more text", "text in an older encoding");
        check(b" \r\n\t ", "blank text");
        check(b"<svg xmlns=\"http://www.w3.org/2000/svg\"/>", "SVG");
        check(b"PK\x03\x04\x14\0", "a ZIP archive or office document");
        check(b"\x1f\x8b\x08", "a gzip archive");
        check(b"{\\rtf1", "RTF");
        check(b"qoif\0\0", "QOI");
        check(b"8BPS\0\x01", "a Photoshop document");
        check(b"\xff\x0a\0", "JPEG XL");
        check(b"\x1aE\xdf\xa3", "a video");
        check(b"\0\0\0\x18ftypheic\0\0\0\0mif1", "HEIC");
        assert_eq!(UploadFormat::of(b""), Err(ImageProblem::Empty));
    }

    #[test]
    fn a_character_split_by_the_window_is_still_text() {
        let text = format!("a{}", "\u{e9}".repeat(2000));
        check(text.as_bytes(), "text");
    }
}
