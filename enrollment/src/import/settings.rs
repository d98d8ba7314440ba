//! What a text beside a secret says about its codes, several parameters at once: the plugin
//! TrayTOTP's `30;6`, and what people write (`SHA256/8/60`, `digits=8`).

use super::shapes::number_in;
use crate::otpauth;
use crate::problem::Parameter;

/// The parameters that a text says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) algorithm: String,
    pub(super) digits: Option<u64>,
    pub(super) period: Option<u64>,
    pub(super) is_steam: bool,
}

impl Settings {
    /// Seconds and digits, or `S` for Steam; an address of a time server may follow.
    pub(super) fn of_tray_totp(text: &str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let period = parts.next().and_then(number_in);
        let length = parts.next().unwrap_or_default();
        let is_steam = length.eq_ignore_ascii_case("s");
        Self {
            algorithm: String::new(),
            digits: if is_steam { None } else { number_in(length) },
            period,
            is_steam,
        }
    }

    /// What a text says in the order that it likes; nothing if none of it is about codes.
    ///
    /// # Errors
    ///
    /// A parameter that is said twice, or beside something that is not understood.
    pub(super) fn of_words(text: &str) -> Result<Option<Self>, Parameter> {
        let mut said = Self::default();
        let mut understood = None;
        let mut is_whole = true;
        let separates = |c: char| c.is_whitespace() || ";/,|&".contains(c);
        for word in text.split(separates).filter(|word| !word.is_empty()) {
            match said.take(word) {
                Ok(Some(parameter)) => understood = Some(parameter),
                Ok(None) => is_whole = false,
                Err(parameter) => return Err(parameter),
            }
        }
        match understood {
            Some(parameter) if !is_whole => Err(parameter),
            understood => Ok(understood.map(|_| said)),
        }
    }

    /// Reads a word: which parameter it says.
    fn take(&mut self, word: &str) -> Result<Option<Parameter>, Parameter> {
        let (name, value) = word.split_once(['=', ':']).unwrap_or(("", word));
        let name = name.to_lowercase();
        let parameter = match name.as_str() {
            "" if otpauth::is_hash(value) => Parameter::Algorithm,
            "" if value.eq_ignore_ascii_case("s") || value.eq_ignore_ascii_case("steam") => {
                self.is_steam = true;
                return Ok(Some(Parameter::Encoder));
            }
            "" => match otpauth::may_mean(value) {
                [parameter] => *parameter,
                [parameter, ..] => return Err(*parameter),
                [] => return Ok(None),
            },
            "digits" | "digit" | "length" => Parameter::Digits,
            "period" | "interval" | "step" => Parameter::Period,
            "algorithm" | "algo" | "hash" => Parameter::Algorithm,
            _ => return Ok(None),
        };
        let digits = value.trim_end_matches(|c: char| c.is_alphabetic());
        let is_new = match parameter {
            Parameter::Algorithm => {
                std::mem::replace(&mut self.algorithm, value.to_owned()).is_empty()
            }
            Parameter::Digits => self
                .digits
                .replace(number_in(digits).unwrap_or(u64::MAX))
                .is_none(),
            _ => self
                .period
                .replace(number_in(digits).unwrap_or(u64::MAX))
                .is_none(),
        };
        if is_new {
            Ok(Some(parameter))
        } else {
            Err(parameter)
        }
    }

    /// Takes over what another text says as well.
    ///
    /// # Errors
    ///
    /// A parameter of which they say different values.
    pub(super) fn merge(&mut self, other: &Self) -> Result<(), Parameter> {
        let differs = |one: Option<u64>, other: Option<u64>| {
            one.zip(other).is_some_and(|(one, other)| one != other)
        };
        if !self.algorithm.is_empty()
            && !other.algorithm.is_empty()
            && otpauth::algorithm_named(&self.algorithm)
                != otpauth::algorithm_named(&other.algorithm)
        {
            return Err(Parameter::Algorithm);
        }
        if differs(self.digits, other.digits) {
            return Err(Parameter::Digits);
        }
        if differs(self.period, other.period) {
            return Err(Parameter::Period);
        }
        if self.algorithm.is_empty() {
            self.algorithm.clone_from(&other.algorithm);
        }
        self.digits = self.digits.or(other.digits);
        self.period = self.period.or(other.period);
        self.is_steam |= other.is_steam;
        Ok(())
    }

    /// Whether nothing is said.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
