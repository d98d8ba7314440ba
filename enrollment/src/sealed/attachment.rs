//! Plaintexts that hold something beside their value, in one envelope, so that nobody on the way
//! takes it away.

use zeroize::Zeroizing;

/// How such a plaintext begins. No text in UTF-8 has this byte, so a release that does not know
/// this form refuses the envelope instead of leaving out what is beside the value.
const MARK: u8 = 0xff;
/// How many bytes say how long what is beside the value is.
const LENGTH: usize = size_of::<u32>();

type Plaintext = Zeroizing<Vec<u8>>;

/// The plaintext of a value that is text in UTF-8: only the value if nothing is beside it.
pub(crate) fn join(value: Plaintext, beside: &[u8]) -> Plaintext {
    debug_assert!(value.first() != Some(&MARK), "a value is text");
    let Ok(length) = u32::try_from(beside.len()) else {
        // More than any envelope takes: it does not open.
        return Zeroizing::new(vec![MARK]);
    };
    if beside.is_empty() {
        return value;
    }
    let room = 1 + LENGTH + beside.len() + value.len();
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    bytes.push(MARK);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(beside);
    bytes.extend_from_slice(&value);
    bytes
}

/// The value and what is beside it, which is empty if nothing is; nothing for a plaintext that
/// [`join`] does not write.
pub(crate) fn split(bytes: &[u8]) -> Option<(Plaintext, Plaintext)> {
    let owned = |bytes: &[u8]| Zeroizing::new(bytes.to_vec());
    let Some(rest) = bytes.strip_prefix(&[MARK]) else {
        return Some((owned(bytes), Zeroizing::default()));
    };
    let (length, rest) = rest.split_first_chunk::<LENGTH>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (beside, value) = rest.split_at_checked(length)?;
    (!beside.is_empty() && value.first() != Some(&MARK)).then(|| (owned(value), owned(beside)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_joined_is_split_again_and_nothing_else_is() {
        for beside in [&b""[..], b"b", b"\xff\n"] {
            let joined = join(Zeroizing::new(b"value".to_vec()), beside);
            assert_eq!(joined.as_slice() == b"value", beside.is_empty());
            // A release that does not know this form reads text.
            assert_eq!(std::str::from_utf8(&joined).is_ok(), beside.is_empty());
            let (value, again) = split(&joined).unwrap();
            assert_eq!(
                (value.as_slice(), again.as_slice()),
                (&b"value"[..], beside)
            );
        }
        for wrong in [
            &b"\xff"[..],
            b"\xff\0\0\0",
            b"\xff\0\0\0\0value",
            b"\xff\0\0\0\x09value",
            b"\xff\xff\xff\xff\xffvalue",
            b"\xff\0\0\0\x01b\xff\0\0\0\x01bvalue",
        ] {
            assert_eq!(split(wrong), None, "{wrong:?}");
        }
    }
}
