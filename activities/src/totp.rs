//! Codes from accounts (RFC 6238).

use countersign_enrollment::account::{Algorithm, TotpAccount};
use thiserror::Error;
use totp_rs::{Builder, Secret};

/// An account's code at one moment, with the time that it is shown for.
#[derive(Clone, PartialEq, Eq)]
pub struct Code {
    /// The digits, leading zeros kept; of Steam Guard, five digits and letters.
    pub text: String,
    /// Seconds until another code is shown, 1 to `period`.
    pub time_remaining: u32,
    /// How long a code is shown, in seconds.
    pub period: u32,
    /// The first second that the code is shown, as Unix time.
    pub valid_from: u64,
    /// The first second that it is shown no more, as Unix time.
    pub valid_until: u64,
}

impl Code {
    /// The same code at another moment, if it is still shown then.
    pub(crate) fn still_at(&self, unix_seconds: u64) -> Option<Self> {
        if !(self.valid_from..self.valid_until).contains(&unix_seconds) {
            return None;
        }
        let time_remaining = u32::try_from(self.valid_until - unix_seconds).ok()?;
        Some(Self {
            time_remaining,
            ..self.clone()
        })
    }
}

/// No code can be made for that moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no code can be computed for a time that far in the future")]
pub struct CodeError;

/// The code that `account` shows at `unix_seconds`.
///
/// The code after it is the one at its [`Code::valid_until`].
///
/// # Errors
///
/// [`CodeError`] where the end of the code's time is out of range.
pub fn code_at(account: &TotpAccount, unix_seconds: u64) -> Result<Code, CodeError> {
    let parameters = account.parameters();
    let period = parameters.period();
    let into_period = unix_seconds % u64::from(period);
    let valid_from = unix_seconds - into_period;
    let valid_until = valid_from.checked_add(u64::from(period)).ok_or(CodeError)?;
    let algorithm = match parameters.algorithm() {
        _ if parameters.is_steam() => totp_rs::Algorithm::Steam,
        Algorithm::Sha1 => totp_rs::Algorithm::SHA1,
        Algorithm::Sha256 => totp_rs::Algorithm::SHA256,
        Algorithm::Sha512 => totp_rs::Algorithm::SHA512,
    };
    // The builder's own checks refuse secrets that services hand out. An account has
    // 5 to 8 digits, a period above zero and a secret, so nothing here can panic.
    let totp = Builder::new()
        .with_algorithm(algorithm)
        .with_digits(parameters.digits())
        .with_step_duration(u64::from(period))
        .with_secret(Secret::from(account.secret().expose().to_vec()))
        .build_noncompliant();
    Ok(Code {
        text: totp.generate(unix_seconds).to_string(),
        // Less than the period, which is a u32.
        time_remaining: period - u32::try_from(into_period).unwrap_or(0),
        period,
        valid_from,
        valid_until,
    })
}

/// A code is a secret for as long as it is shown.
impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Code")
            .field("time_remaining", &self.time_remaining)
            .field("period", &self.period)
            .field("valid_from", &self.valid_from)
            .field("valid_until", &self.valid_until)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use countersign_enrollment::otpauth;

    fn check(uri: &str, time: u64, token: &str) {
        let account = otpauth::parse(uri).unwrap().account;
        assert_eq!(code_at(&account, time).unwrap().text, token, "at {time}");
    }

    /// RFC 6238 appendix B. The keys for the longer hashes repeat the digits, as the
    /// RFC's program does and its text does not say.
    #[test]
    fn rfc_6238_vectors() {
        let sha1 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let sha256 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA";
        let sha512 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA";
        for (time, expected) in [
            (59, ["94287082", "46119246", "90693936"]),
            (1_111_111_109, ["07081804", "68084774", "25091201"]),
            (1_111_111_111, ["14050471", "67062674", "99943326"]),
            (1_234_567_890, ["89005924", "91819424", "93441116"]),
            (2_000_000_000, ["69279037", "90698825", "38618901"]),
            (20_000_000_000, ["65353130", "77737706", "47863826"]),
        ] {
            for ((algorithm, secret), token) in
                [("SHA1", sha1), ("SHA256", sha256), ("SHA512", sha512)]
                    .into_iter()
                    .zip(expected)
            {
                let uri =
                    format!("otpauth://totp/rfc?secret={secret}&algorithm={algorithm}&digits=8");
                check(&uri, time, token);
                for digits in [6, 7] {
                    let uri = format!(
                        "otpauth://totp/rfc?secret={secret}&algorithm={algorithm}&digits={digits}"
                    );
                    check(&uri, time, &token[8 - digits..]);
                }
            }
        }
    }

    /// Codes of a secret of 40 bits, made with two other programs.
    #[test]
    fn a_short_secret_gives_right_codes() {
        for (time, token) in [
            (0, "154007"),
            (29, "154007"),
            (30, "261151"),
            (59, "261151"),
            (1_111_111_109, "458301"),
            (1_111_111_111, "229971"),
            (1_234_567_890, "355481"),
            (1_700_000_000, "134286"),
            (1_736_000_000, "311949"),
            (1_800_000_000, "880652"),
            (2_000_000_000, "593203"),
        ] {
            check(
                "otpauth://totp/Test%20Token?secret=2FASTEST&issuer=2FAS",
                time,
                token,
            );
        }
    }

    /// The key of RFC 6238 under Steam's alphabet, made with another program.
    #[test]
    fn steam_vectors() {
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for (time, token) in [
            (0, "GG5F5"),
            (59, "PV9M4"),
            (1_111_111_109, "PY4YB"),
            (1_234_567_890, "VHHQY"),
            (2_000_000_000, "9N776"),
        ] {
            check(
                &format!("otpauth://steam/Steam:gordon?secret={secret}"),
                time,
                token,
            );
            let encoder = format!("otpauth://totp/Steam:gordon?secret={secret}&encoder=steam");
            check(&encoder, time, token);
        }
        // An issuer of that name alone means nothing.
        check(
            &format!("otpauth://totp/Steam:gordon?secret={secret}&issuer=Steam"),
            59,
            "287082",
        );
    }

    #[test]
    fn time_is_derived_from_the_period_not_from_the_request() {
        let account = otpauth::parse("otpauth://totp/x?secret=2FASTEST")
            .unwrap()
            .account;
        for (time, remaining, from) in [(29, 1, 0), (30, 30, 30), (59, 1, 30), (60, 30, 60)] {
            let code = code_at(&account, time).unwrap();
            assert_eq!(code.time_remaining, remaining);
            assert_eq!((code.valid_from, code.valid_until), (from, from + 30));
            assert_eq!(code.period, 30);
        }
        assert_eq!(code_at(&account, u64::MAX), Err(CodeError));
    }
}
