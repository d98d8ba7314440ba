//! The vocabulary of an enrollment: ids, requests, outcomes, otpauth URIs and sealed values.
