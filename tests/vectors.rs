//! Published codes, requested over HTTP from a whole running server whose clock is set to
//! the moment of each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use chrono::DateTime;
use countersign::app::{Parts, Running};
use countersign::clock::ManualClock;
use countersign::config::Config;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

/// The digits that RFC 4226 and RFC 6238 use as a key, in base32.
const KEY: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
/// The same repeated to 32 and to 64 bytes, as the program of RFC 6238 does and its text
/// does not say.
const KEY_32: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA";
const KEY_64: &str = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNA";

struct Server {
    running: Running,
    clock: ManualClock,
    http: Client,
    base: String,
    _folder: tempfile::TempDir,
}

impl Server {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let clock = ManualClock::new(DateTime::from_timestamp(0, 0).unwrap());
        let config = Config::embedded(&folder.path().join("data"));
        let parts = Parts::Everything;
        let running = Running::start_parts(config, parts, Arc::new(clock.clone()))
            .await
            .unwrap();
        Self {
            base: format!("http://{}", running.http_addr.unwrap()),
            running,
            clock,
            http: Client::builder().no_proxy().build().unwrap(),
            _folder: folder,
        }
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let token = self.running.admin_token.as_ref().unwrap();
        self.http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(token.as_str())
    }

    async fn enroll(&self, uri: &str) -> String {
        let request = self.request(Method::POST, "/api/accounts");
        let answer: Value = request
            .json(&json!({ "uri": uri }))
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        let name = answer["secretName"].as_str();
        name.unwrap_or_else(|| panic!("{uri}: {answer}")).to_owned()
    }

    /// The code and how long it is shown, at a moment.
    async fn code(&self, id: &str, unix_seconds: i64) -> (String, u64) {
        self.clock
            .set(DateTime::from_timestamp(unix_seconds, 0).unwrap());
        let request = self.request(Method::GET, &format!("/api/tokens?id={id}"));
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let token = answer["token"].as_str();
        (
            token.unwrap_or_else(|| panic!("{answer}")).to_owned(),
            answer["timeRemaining"].as_u64().unwrap(),
        )
    }

    async fn check(&self, uri: &str, codes: &[(i64, &str)]) {
        let id = self.enroll(uri).await;
        for (time, expected) in codes {
            let (token, remaining) = self.code(&id, *time).await;
            assert_eq!(&token, expected, "{uri} at {time}");
            assert_eq!(remaining, 30 - time.unsigned_abs() % 30, "{uri} at {time}");
        }
    }
}

#[tokio::test]
async fn published_codes_come_out_at_their_moments() {
    let server = Server::start().await;
    // RFC 6238 appendix B.
    let rfc_6238 = [
        (59, ["94287082", "46119246", "90693936"]),
        (1_111_111_109, ["07081804", "68084774", "25091201"]),
        (1_111_111_111, ["14050471", "67062674", "99943326"]),
        (1_234_567_890, ["89005924", "91819424", "93441116"]),
        (2_000_000_000, ["69279037", "90698825", "38618901"]),
        (20_000_000_000, ["65353130", "77737706", "47863826"]),
    ];
    for (place, (algorithm, secret)) in [("SHA1", KEY), ("SHA256", KEY_32), ("SHA512", KEY_64)]
        .into_iter()
        .enumerate()
    {
        let codes: Vec<(i64, &str)> = rfc_6238.iter().map(|(at, all)| (*at, all[place])).collect();
        let uri = format!(
            "otpauth://totp/rfc6238:{algorithm}?secret={secret}&algorithm={algorithm}&digits=8"
        );
        server.check(&uri, &codes).await;
    }
    // RFC 4226 appendix D: the counter is the number of the half minute.
    let rfc_4226 = [
        "755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871",
        "520489",
    ];
    let codes: Vec<(i64, &str)> = (0..).map(|count| count * 30).zip(rfc_4226).collect();
    let uri = format!("otpauth://totp/rfc4226?secret={KEY}");
    server.check(&uri, &codes).await;
    // Steam Guard, made with another program.
    let uri = format!("otpauth://steam/Steam:gordon?secret={KEY}");
    let steam = [
        (0, "GG5F5"),
        (59, "PV9M4"),
        (1_111_111_109, "PY4YB"),
        (1_234_567_890, "VHHQY"),
        (2_000_000_000, "9N776"),
    ];
    server.check(&uri, &steam).await;
    // A secret of 40 bits, made with two other programs; both ends of a half minute.
    let weak = [
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
    ];
    let uri = "otpauth://totp/Test%20Token?secret=2FASTEST&issuer=2FAS";
    server.check(uri, &weak).await;
    server.running.stop().await.unwrap();
}
