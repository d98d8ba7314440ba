//! Images to upload.

/// A QR image of a text, as PNG.
pub(crate) fn qr_png(text: &str) -> Vec<u8> {
    let code = qrcode::QrCode::new(text).unwrap();
    let picture = code
        .render::<image::Luma<u8>>()
        .module_dimensions(6, 6)
        .build();
    png(&image::DynamicImage::ImageLuma8(picture))
}

/// An image as PNG.
pub(crate) fn png(picture: &image::DynamicImage) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}
