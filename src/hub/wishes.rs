//! What someone wants of an enrollment beside the account.

/// What else someone wants of an enrollment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wishes {
    /// Codes of Steam, whatever an image says.
    pub(crate) steam: bool,
    /// Nothing, where an account with the same content is in use.
    pub(crate) unless_there: bool,
}

impl Wishes {
    /// What tells a repeated request from another one.
    pub(super) fn asked(self) -> String {
        let words = [
            (self.steam, ", steam"),
            (self.unless_there, ", unless there"),
        ];
        let said = words.iter().filter(|(said, _)| *said);
        said.map(|(_, word)| *word).collect()
    }
}
