//! The side effects of an enrollment: reading pictures, checking URIs, storing secrets.

pub mod picture;
pub mod qr;
pub mod vault;
pub mod totp;
pub mod vault;
