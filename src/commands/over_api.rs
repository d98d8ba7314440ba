//! `countersign key` and `countersign grant` at a server that was named, through its API and as the
//! caller whose token is presented. Without a server they work on the data folder itself.

use chrono::{DateTime, SecondsFormat, Utc};
use countersign_enrollment::ids::EnrollmentId;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::client::{Api, encode};
use super::find::Among;
use super::{Exit, Fault};
use crate::access::{Grant, Grantee, KeyRecord, NewKey};

/// Keys as the API lists them.
#[derive(Deserialize)]
struct Keys {
    keys: Vec<KeyRecord>,
}

/// Grants as the API lists them.
#[derive(Deserialize)]
struct Grants {
    grants: Vec<Grant>,
}

impl Api {
    /// Creates a key; the document of the answer, which contains it.
    pub(super) async fn create_key(&self, new: &NewKey) -> Result<Value, Fault> {
        let mut body = json!({
            "name": new.name,
            "role": new.role,
            "groups": new.groups,
            "grantedOnly": new.granted_only,
        });
        if let Some(until) = new.expires_at {
            body["expiresAt"] = json!(moment(until));
        }
        let request = self.request(Method::POST, "/api/keys")?.json(&body);
        self.send(request).await
    }

    pub(super) async fn keys(&self) -> Result<Vec<KeyRecord>, Fault> {
        let request = self.request(Method::GET, "/api/keys")?;
        Ok(self.send_as::<Keys>(request).await?.keys)
    }

    /// Rotates a key; the document of the answer, which contains the new one.
    pub(super) async fn rotate_key(&self, name: &str, overlap: i64) -> Result<Value, Fault> {
        let path = format!("/api/keys/{}/rotate", encode(name));
        let request = self.request(Method::POST, &path)?;
        self.send(request.json(&json!({ "overlapSeconds": overlap })))
            .await
    }

    pub(super) async fn revoke_key(&self, name: &str) -> Result<(), Fault> {
        let path = format!("/api/keys/{}", encode(name));
        let request = self.request(Method::DELETE, &path)?;
        self.send(request).await.map(drop)
    }

    pub(super) async fn grants(&self) -> Result<Vec<Grant>, Fault> {
        let request = self.request(Method::GET, "/api/grants")?;
        Ok(self.send_as::<Grants>(request).await?.grants)
    }

    /// Grants an account; the grant that this replaces, if there was one.
    pub(super) async fn grant(&self, grant: &Grant) -> Result<Option<Grant>, Fault> {
        let before = self.grants().await?;
        let mut body = json!({ "account": grant.account });
        match &grant.to {
            Grantee::Caller(name) => body["caller"] = json!(name),
            Grantee::Group(group) => body["group"] = json!(group),
        }
        if let Some(until) = grant.until {
            body["until"] = json!(moment(until));
        }
        if let Some(reads) = grant.reads {
            body["reads"] = json!(reads.granted());
        }
        let request = self.request(Method::POST, "/api/grants")?.json(&body);
        self.send(request).await?;
        let mut same = before.into_iter();
        Ok(same.find(|old| old.to == grant.to && old.account == grant.account))
    }

    pub(super) async fn withdraw(&self, from: &Grantee, account: &str) -> Result<(), Fault> {
        let (kind, name) = match from {
            Grantee::Caller(name) => ("caller", name.as_str()),
            Grantee::Group(group) => ("group", group.as_str()),
        };
        let path = format!(
            "/api/grants?{kind}={}&account={}",
            encode(name),
            encode(account)
        );
        let request = self.request(Method::DELETE, &path)?;
        self.send(request).await.map(drop)
    }

    /// The account with this id, or the one with this name.
    pub(super) async fn account_named(&self, text: &str) -> Result<EnrollmentId, Fault> {
        if let Ok(id) = text.trim().parse() {
            return Ok(id);
        }
        let id = self.account(text, Among::InUse).await?;
        id.parse().map_err(Fault::failed)
    }

    /// The same account if it exists and was not removed.
    pub(super) async fn in_use(&self, id: EnrollmentId) -> Result<EnrollmentId, Fault> {
        let account = self.get(&format!("/api/accounts/{id}")).await?;
        if account["state"] == "removed" {
            let message =
                format!("{id} was removed: bring it back with `countersign restore {id}`");
            return Err(Fault::new(Exit::NotFound, message));
        }
        Ok(id)
    }
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
