//! One identity: its order, its cache, its errors. The credentials here are the test's
//! own; those of Azure are tried as far as they go without Azure.

#![cfg(feature = "azure")]
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::{Error, ErrorKind};
use azure_core::time::OffsetDateTime;
use durabletask::azure::{
    Identity, IdentitySettings, Selection, Source, UnsupportedAuthentication,
};
use durabletask::connection::{AuthenticationKind, SCOPE, TokenProvider};
use durabletask::{Client, Connection};

/// Gives tokens that last `lifetime`, or fails.
#[derive(Debug, Default)]
struct Scripted {
    asked: AtomicUsize,
    scopes: Mutex<Vec<String>>,
    lifetime: Mutex<Option<Duration>>,
    pause: Option<Duration>,
}

impl Scripted {
    fn lasting(lifetime: Duration) -> Arc<Self> {
        Arc::new(Self {
            lifetime: Mutex::new(Some(lifetime)),
            ..Self::default()
        })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl TokenCredential for Scripted {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        let number = self.asked.fetch_add(1, Ordering::SeqCst);
        self.scopes.lock().unwrap().push(scopes.join(" "));
        if let Some(pause) = self.pause {
            tokio::time::sleep(pause).await;
        }
        match *self.lifetime.lock().unwrap() {
            Some(lifetime) => Ok(AccessToken::new(
                format!("token {number}"),
                OffsetDateTime::now_utc() + lifetime,
            )),
            None => Err(Error::with_message(
                ErrorKind::Credential,
                "nobody is\nlogged in",
            )),
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);

fn identity(sources: &[(&'static str, &Arc<Scripted>)]) -> Identity {
    Identity::from_credentials(sources.iter().map(|(name, source)| {
        let credential: Arc<dyn TokenCredential> = Arc::<Scripted>::clone(source);
        (*name, credential)
    }))
}

#[tokio::test]
async fn the_first_that_works_is_kept() {
    let absent = Arc::new(Scripted::default());
    let present = Scripted::lasting(HOUR);
    let never = Scripted::lasting(HOUR);
    let identity = identity(&[("one", &absent), ("two", &present), ("three", &never)]);
    identity.token("https://a/.default").await.unwrap();
    assert_eq!(identity.source().await, Some("two"));
    identity.token("https://b/.default").await.unwrap();
    assert_eq!((absent.asked(), present.asked(), never.asked()), (1, 2, 0));
}

#[tokio::test]
async fn one_identity_serves_vault_and_hub_with_a_token_each() {
    let source = Scripted::lasting(HOUR);
    let identity = identity(&[("only", &source)]);
    let vault = identity
        .token("https://vault.azure.net/.default")
        .await
        .unwrap();
    let hub = identity.token(SCOPE).await.unwrap();
    assert_ne!(vault.token.secret(), hub.token.secret());
    for _ in 0..10 {
        let again = identity.clone().token(SCOPE).await.unwrap();
        assert_eq!(again.token.secret(), hub.token.secret());
    }
    assert_eq!(
        *source.scopes.lock().unwrap(),
        [
            "https://vault.azure.net/.default",
            "https://durabletask.io/.default"
        ]
    );
}

#[tokio::test]
async fn concurrent_callers_cause_one_request() {
    let source = Arc::new(Scripted {
        lifetime: Mutex::new(Some(HOUR)),
        pause: Some(Duration::from_millis(50)),
        ..Scripted::default()
    });
    let identity = identity(&[("only", &source)]);
    let asks = (0..50).map(|_| {
        let identity = identity.clone();
        tokio::spawn(async move { identity.token("https://a/.default").await.map(drop) })
    });
    for ask in asks.collect::<Vec<_>>() {
        ask.await.unwrap().unwrap();
    }
    assert_eq!(source.asked(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_used_to_the_end_if_that_fails() {
    let source = Scripted::lasting(Duration::from_secs(120));
    let identity = identity(&[("only", &source)]);
    let first = identity.token("https://a/.default").await.unwrap();
    let second = identity.token("https://a/.default").await.unwrap();
    assert_ne!(first.token.secret(), second.token.secret());
    *source.lifetime.lock().unwrap() = None;
    let kept = identity.token("https://a/.default").await.unwrap();
    assert_eq!(kept.token.secret(), second.token.secret());
}

#[tokio::test]
async fn when_none_works_the_error_says_what_was_tried_and_is_not_tried_again_at_once() {
    let (one, two) = (Arc::new(Scripted::default()), Arc::new(Scripted::default()));
    let identity = identity(&[("managed-identity", &one), ("azure-cli", &two)]);
    let error = identity
        .token("https://a/.default")
        .await
        .unwrap_err()
        .to_string();
    for word in [
        "managed-identity",
        "azure-cli",
        "nobody is logged in",
        "choose the one",
    ] {
        assert!(error.contains(word), "{error}");
    }
    identity.token("https://a/.default").await.unwrap_err();
    assert_eq!((one.asked(), two.asked()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_unresponsive_source_is_skipped() {
    let silent = Arc::new(Scripted {
        lifetime: Mutex::new(Some(HOUR)),
        pause: Some(Duration::from_secs(3600)),
        ..Scripted::default()
    });
    let present = Scripted::lasting(HOUR);
    let identity = identity(&[("silent", &silent), ("present", &present)]);
    let started = tokio::time::Instant::now();
    identity.token("https://a/.default").await.unwrap();
    assert!(started.elapsed() <= Duration::from_secs(30));
    assert_eq!(identity.source().await, Some("present"));
}

#[tokio::test]
async fn missing_configuration_is_reported_without_a_request() {
    for (source, word) in [
        (Source::Environment, "AZURE_CLIENT_SECRET"),
        (Source::WorkloadIdentity, "AZURE_FEDERATED_TOKEN_FILE"),
    ] {
        let identity = Identity::new(&IdentitySettings {
            selection: Selection::Only(source),
            ..IdentitySettings::default()
        });
        let error = identity.token(SCOPE).await.unwrap_err().to_string();
        assert!(
            error.contains(source.as_str()) && error.contains(word),
            "{error}"
        );
    }
}

#[test]
fn settings_come_from_the_variables_that_users_know_and_hide_the_secret() {
    let settings = IdentitySettings::from_environment(|name| {
        Some(match name {
            "AZURE_CLIENT_ID" => "an id".to_owned(),
            "AZURE_TENANT_ID" => "a tenant".to_owned(),
            "AZURE_CLIENT_SECRET" => "hunter2".to_owned(),
            "AZURE_FEDERATED_TOKEN_FILE" => String::new(),
            _ => return None,
        })
    });
    assert_eq!(settings.client_id.as_deref(), Some("an id"));
    assert_eq!(settings.token_file, None);
    assert!(!settings.has_identity_endpoint);
    let shown = format!("{settings:?}");
    assert!(
        shown.contains("a tenant") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn a_connection_string_chooses_the_identity() {
    let adopted = |rest: &str| {
        let text = format!("Endpoint=https://x;TaskHub=y;{rest}");
        let connection = Connection::parse(&text).unwrap();
        let mut settings = IdentitySettings {
            client_id: Some("from the environment".to_owned()),
            selection: Selection::Development,
            ..IdentitySettings::default()
        };
        let outcome = settings.adopt(connection.authentication());
        (outcome, settings)
    };
    for (kind, selection) in [
        ("None", Selection::Development),
        ("DefaultAzure", Selection::Default),
        ("ManagedIdentity", Selection::Only(Source::ManagedIdentity)),
        (
            "WorkloadIdentity",
            Selection::Only(Source::WorkloadIdentity),
        ),
        ("Environment", Selection::Only(Source::Environment)),
        ("azurecli", Selection::Only(Source::AzureCli)),
    ] {
        let (outcome, settings) = adopted(&format!("Authentication={kind}"));
        assert_eq!((outcome, settings.selection), (Ok(()), selection), "{kind}");
        assert_eq!(settings.client_id.as_deref(), Some("from the environment"));
    }
    let (outcome, settings) =
        adopted("Authentication=WorkloadIdentity;ClientID=a;TenantId=b;TokenFilePath=/c");
    assert_eq!(outcome, Ok(()));
    assert_eq!(settings.client_id.as_deref(), Some("a"));
    assert_eq!(settings.tenant_id.as_deref(), Some("b"));
    assert_eq!(settings.token_file.as_deref(), Some("/c".as_ref()));
    let (outcome, settings) = adopted("Authentication=VisualStudio;ClientID=a");
    let error = UnsupportedAuthentication(AuthenticationKind::VisualStudio);
    assert_eq!(outcome, Err(error));
    assert_eq!(settings.client_id.as_deref(), Some("from the environment"));
    assert!(error.to_string().contains("VisualStudio"), "{error}");
}

#[tokio::test]
async fn a_connection_gets_its_tokens_from_the_identity() {
    let source = Scripted::lasting(HOUR);
    let identity = identity(&[("only", &source)]);
    let token = TokenProvider::token(&identity, SCOPE).await.unwrap();
    assert!(!format!("{token:?}").contains("token 0"));
    assert_eq!(source.asked(), 1);

    let parse = |kind: &str| {
        let text = format!("Endpoint=https://127.0.0.1:1;TaskHub=y;Authentication={kind}");
        Connection::parse(&text).unwrap()
    };
    Client::new(&parse("ManagedIdentity")).unwrap_err();
    Client::new(&parse("ManagedIdentity").with_azure_identity().unwrap()).unwrap();
    parse("IntelliJ").with_azure_identity().unwrap_err();
}
