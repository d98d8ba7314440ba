//! Options of an enrollment.

/// Options of an enrollment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct EnrollmentOptions {
    /// Steam codes, whatever the image says.
    pub(crate) steam: bool,
    /// Refuse it if an account with the same content is in use.
    pub(crate) unless_there: bool,
}

impl EnrollmentOptions {
    /// The options as part of a request's fingerprint.
    pub(super) fn fingerprint_text(self) -> String {
        let words = [
            (self.steam, ", steam"),
            (self.unless_there, ", unless there"),
        ];
        let said = words.iter().filter(|(said, _)| *said);
        said.map(|(_, word)| *word).collect()
    }
}
