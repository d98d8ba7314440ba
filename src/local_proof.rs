//! How the server of a data folder proves to commands on the same folder that it is that
//! server, before a command sends it a token.
//!
//! Ports above 1024 are anyone's: while the server is down, another user's program may
//! listen where it did. So a command first asks what listens there for a proof: a MAC, under
//! a key that is derived from the folder's `server.key`, over a number that the command has
//! just drawn and the address of the server's end of the connection. The command
//! compares that address with the one that it has connected to, so a program elsewhere that
//! relays the question to the real server gets an answer that it cannot use. The
//! key is used for nothing else.

use std::net::SocketAddr;

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;

use crate::access::secret::{self, RandomUnavailable};
use crate::access::{ServerKey, ServerKeys};

/// The path at which the server answers the question, which is in the query.
pub(crate) const PATH: &str = "/api/hello";
const KEY_LABEL: &[u8] = b"countersign local proof v1";
/// The purpose of the proof.
const PURPOSE: &[u8] = b"this is the server of the data folder";

/// What a command draws for each question.
pub(crate) struct Nonce([u8; 32]);

impl Nonce {
    pub(crate) fn draw() -> Result<Self, RandomUnavailable> {
        Ok(Self(*secret::random_bytes::<32>()?))
    }

    /// None if the text is not a nonce.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Some(Self(*secret::key_from_hex(text)?))
    }

    pub(crate) fn to_text(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    /// The path and query of this question.
    pub(crate) fn address(&self) -> String {
        format!("{PATH}?nonce={}", self.to_text())
    }
}

/// The keys that server and command share.
pub(crate) struct LocalProof {
    keys: ServerKeys,
}

impl LocalProof {
    pub(crate) fn new(server_keys: impl Into<ServerKeys>) -> Self {
        Self {
            keys: server_keys.into(),
        }
    }

    /// The proof for a connection whose end at the server is `address`.
    pub(crate) fn prove(&self, tls: bool, address: SocketAddr, nonce: &Nonce) -> String {
        HEXLOWER.encode(&mac(&self.keys.ring().current, tls, address, nonce))
    }

    /// Whether a text is the proof at `now`. While the key is rotated, the server may use the one
    /// before for another moment.
    pub(crate) fn holds(
        &self,
        tls: bool,
        address: SocketAddr,
        nonce: &Nonce,
        text: &str,
        now: DateTime<Utc>,
    ) -> bool {
        let proof = HEXLOWER.decode(text.as_bytes()).unwrap_or_default();
        let is_of = |key| secret::same(&proof, &mac(key, tls, address, nonce));
        self.keys.ring().valid(now).any(is_of)
    }
}

fn mac(server: &ServerKey, tls: bool, address: SocketAddr, nonce: &Nonce) -> [u8; 32] {
    let scheme: &[u8] = if tls { b"https" } else { b"http" };
    // Without IPv6 scope and flow, which only one end knows.
    let place = SocketAddr::new(address.ip().to_canonical(), address.port()).to_string();
    let key = server.derive(KEY_LABEL);
    secret::mac(&key, &[PURPOSE, scheme, place.as_bytes(), &nonce.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_is_for_one_folder_one_address_and_one_question() {
        let now = Utc::now();
        let (proof, nonce) = (LocalProof::new(&[7; 32]), Nonce([1; 32]));
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        let here = at("127.0.0.1:7071");
        let given = proof.prove(false, here, &nonce);
        assert!(proof.holds(false, here, &nonce, &given, now));
        assert!(proof.holds(false, at("[::ffff:127.0.0.1]:7071"), &nonce, &given, now));
        for other in ["127.0.0.1:7072", "127.0.0.2:7071", "[::1]:7071"] {
            assert!(
                !proof.holds(false, at(other), &nonce, &given, now),
                "{other}"
            );
        }
        assert!(!proof.holds(true, here, &nonce, &given, now));
        assert!(!proof.holds(false, here, &Nonce([2; 32]), &given, now));
        assert!(!LocalProof::new(&[8; 32]).holds(false, here, &nonce, &given, now));
        for nothing in ["", "00", "no hexadecimal"] {
            assert!(!proof.holds(false, here, &nonce, nothing, now), "{nothing}");
        }
        assert!(Nonce::parse(&nonce.to_text()).is_some_and(|read| read.0 == nonce.0));
        assert!(Nonce::parse("7071").is_none());
    }
}
