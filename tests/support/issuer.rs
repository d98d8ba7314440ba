//! An issuer of tokens: it publishes keys over HTTP, rotates them, and can fall silent.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm};
use serde_json::{Value, json};

/// Whom the tokens are for.
pub(crate) const AUDIENCE: &str = "api://countersign";

/// A key of an issuer.
pub(crate) struct SigningKey {
    id: String,
    pair: KeyPair,
    algorithm: Algorithm,
}

impl SigningKey {
    pub(crate) fn new(id: &str, algorithm: Algorithm) -> Self {
        let kind: &SignatureAlgorithm = match algorithm {
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::EdDSA => &PKCS_ED25519,
            _ => &PKCS_RSA_SHA256,
        };
        Self {
            id: id.to_owned(),
            pair: KeyPair::generate_for(kind).unwrap(),
            algorithm,
        }
    }

    /// The public half as a JSON Web Key.
    pub(crate) fn jwk(&self) -> Value {
        let raw = self.pair.public_key_raw();
        let text = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let mut jwk = match self.algorithm {
            // An uncompressed point: a 4, then both coordinates.
            Algorithm::ES256 => json!({
                "kty": "EC", "crv": "P-256", "x": text(&raw[1..33]), "y": text(&raw[33..])
            }),
            Algorithm::EdDSA => json!({"kty": "OKP", "crv": "Ed25519", "x": text(raw)}),
            _ => {
                let (n, e) = rsa(raw);
                json!({"kty": "RSA", "n": text(n), "e": text(e)})
            }
        };
        jwk["kid"] = json!(self.id);
        jwk["use"] = json!("sig");
        jwk
    }

    /// A token with these claims.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.kid = Some(self.id.clone());
        self.sign_with(&header, claims)
    }

    pub(crate) fn sign_with(&self, header: &Header, claims: &Value) -> String {
        let der = self.pair.serialize_der();
        let pem = self.pair.serialize_pem();
        let key = match self.algorithm {
            Algorithm::ES256 => EncodingKey::from_ec_der(&der),
            Algorithm::EdDSA => EncodingKey::from_ed_der(&der),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
        };
        encode(header, claims, &key).unwrap()
    }

    /// The public half in the form that a careless checker would take for a shared secret.
    pub(crate) fn public_pem(&self) -> String {
        self.pair.public_key_pem()
    }
}

/// Modulus and exponent of an RSA public key in DER (RFC 8017 appendix A.1.1).
fn rsa(der: &[u8]) -> (&[u8], &[u8]) {
    /// What an element of `tag` holds, and what comes after it.
    fn element(der: &[u8], tag: u8) -> (&[u8], &[u8]) {
        assert_eq!(der[0], tag);
        let (length, rest) = match der[1] {
            short @ 0..0x80 => (usize::from(short), &der[2..]),
            long => {
                let (digits, rest) = der[2..].split_at(usize::from(long - 0x80));
                let length = digits.iter().fold(0, |sum, b| sum << 8 | usize::from(*b));
                (length, rest)
            }
        };
        rest.split_at(length)
    }
    let (numbers, _) = element(der, 0x30);
    let (n, numbers) = element(numbers, 0x02);
    let (e, _) = element(numbers, 0x02);
    (n.strip_prefix(&[0]).unwrap_or(n), e)
}

#[derive(Default)]
struct Published {
    keys: Mutex<Vec<Value>>,
    silent: AtomicBool,
    /// How often the keys were asked for.
    asked: AtomicUsize,
}

/// An issuer that answers on a port of this machine.
pub(crate) struct Issuer {
    address: SocketAddr,
    published: Arc<Published>,
}

impl Issuer {
    pub(crate) async fn start(keys: &[&SigningKey]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let published = Arc::new(Published::default());
        let issuer = Self { address, published };
        issuer.publish(keys);
        let discovery = json!({
            "issuer": issuer.name(),
            "jwks_uri": format!("{}/keys", issuer.name()),
        });
        let router = axum::Router::new()
            .route(
                "/tenant/.well-known/openid-configuration",
                get(async || Json(discovery)),
            )
            .route("/tenant/keys", get(keys_of))
            .with_state(Arc::clone(&issuer.published));
        tokio::spawn(async move { axum::serve(listener, router).await });
        issuer
    }

    /// What its tokens say in `iss`.
    pub(crate) fn name(&self) -> String {
        format!("http://{}/tenant", self.address)
    }

    /// Publishes these keys from now on, and no others.
    pub(crate) fn publish(&self, keys: &[&SigningKey]) {
        let mut all: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
        // What others put into their sets: secrets, keys for encryption, kinds of the future.
        all.push(json!({"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}));
        all.push(json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "future", "pub": "AA"}));
        *self.published.keys.lock().unwrap() = all;
    }

    /// Answers nothing but errors, or answers again.
    pub(crate) fn fall_silent(&self, silent: bool) {
        self.published.silent.store(silent, Ordering::SeqCst);
    }

    pub(crate) fn asked(&self) -> usize {
        self.published.asked.load(Ordering::SeqCst)
    }
}

async fn keys_of(State(published): State<Arc<Published>>) -> Result<Json<Value>, StatusCode> {
    published.asked.fetch_add(1, Ordering::SeqCst);
    if published.silent.load(Ordering::SeqCst) {
        return Err(StatusCode::SERVICE_UNAVAILABLE);
    }
    let keys = published.keys.lock().unwrap().clone();
    Ok(Json(json!({ "keys": keys })))
}
