//! What commands read.

use std::io::Read as _;

use zeroize::Zeroizing;

use super::{Exit, Fault};

/// The content of a file, or of standard input if it is called `-`: at most `limit` bytes of
/// it, and at least one.
pub(super) fn read(file: &str, limit: u64) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut bytes = Zeroizing::new(Vec::new());
    let (name, result) = if file == "-" {
        let input = std::io::stdin().lock().take(limit).read_to_end(&mut bytes);
        ("standard input", input)
    } else {
        let content =
            std::fs::File::open(file).and_then(|file| file.take(limit).read_to_end(&mut bytes));
        (file, content)
    };
    result.map_err(|error| Fault::new(Exit::Failed, format!("cannot read {name}: {error}")))?;
    if bytes.is_empty() {
        return Err(Fault::new(Exit::Usage, format!("{name} is empty")));
    }
    Ok(bytes)
}
