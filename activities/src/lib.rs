//! The side effects of an enrollment: reading pictures, checking URIs, storing secrets.
