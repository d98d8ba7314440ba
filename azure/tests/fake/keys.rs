//! Keys of the fake that wrap others: real RSA-OAEP-256, though in this process's memory.

use std::collections::BTreeMap;

use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
    PrivateDecryptingKey,
};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::Op;

type Answer = Result<(u16, Value), (u16, &'static str, &'static str)>;

const NOT_FOUND: (u16, &str, &str) = (404, "KeyNotFound", "");
const BAD: (u16, &str, &str) = (400, "BadParameter", "");

struct KeyVersion {
    id: String,
    private: OaepPrivateDecryptingKey,
    public: OaepPublicEncryptingKey,
    enabled: bool,
}

/// The keys by their names, the oldest version first.
#[derive(Default)]
pub(crate) struct Keys {
    versions: BTreeMap<String, Vec<KeyVersion>>,
    made: u64,
}

impl Keys {
    /// Makes a key, or another version of it; its version.
    pub(crate) fn make(&mut self, name: &str) -> String {
        self.made += 1;
        let id = format!("{:032x}", u128::from(self.made) * 0x9e37_79b9_7f4a_7c15);
        let private = PrivateDecryptingKey::generate(KeySize::Rsa2048).expect("a key");
        let version = KeyVersion {
            id: id.clone(),
            public: OaepPublicEncryptingKey::new(private.public_key()).expect("a key"),
            private: OaepPrivateDecryptingKey::new(private).expect("a key"),
            enabled: true,
        };
        self.versions
            .entry(name.to_owned())
            .or_default()
            .push(version);
        id
    }

    /// Switches all versions of a key on or off.
    pub(crate) fn enable(&mut self, name: &str, enabled: bool) {
        for version in self.versions.get_mut(name).expect("a key") {
            version.enabled = enabled;
        }
    }

    /// Deletes a version for good, which the service does only with all of them.
    pub(crate) fn lose(&mut self, name: &str, id: &str) {
        let versions = self.versions.get_mut(name).expect("a key");
        versions.retain(|version| version.id != id);
    }

    pub(super) fn answer(
        &self,
        op: Op,
        name: &str,
        version: Option<&str>,
        body: &[u8],
        base: &str,
    ) -> Answer {
        let versions = self.versions.get(name).ok_or(NOT_FOUND)?;
        let found = match version {
            Some(id) => versions.iter().find(|version| version.id == id),
            None => versions.last(),
        };
        let key = found.ok_or(NOT_FOUND)?;
        if !key.enabled {
            return Err((403, "Forbidden", "KeyDisabled"));
        }
        let body: Value = serde_json::from_slice(body).map_err(|_| BAD)?;
        if body["alg"] != "RSA-OAEP-256" {
            return Err(BAD);
        }
        let value = body["value"].as_str().ok_or(BAD)?;
        let value = BASE64URL_NOPAD.decode(value.as_bytes()).map_err(|_| BAD)?;
        let mut out = vec![0; key.private.key_size_bytes()];
        let result = match op {
            Op::Wrap => key
                .public
                .encrypt(&OAEP_SHA256_MGF1SHA256, &value, &mut out, None),
            _ => key
                .private
                .decrypt(&OAEP_SHA256_MGF1SHA256, &value, &mut out, None),
        };
        let result = BASE64URL_NOPAD.encode(result.map_err(|_| BAD)?);
        let id = format!("{base}/keys/{name}/{}", key.id);
        Ok((200, json!({"kid": id, "value": result})))
    }
}
