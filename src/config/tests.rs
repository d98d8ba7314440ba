//! Settings from every layer, good and bad.

use super::*;

fn resolve(flags: Settings, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::resolve(&flags, |name| {
        variables
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| (*v).to_owned())
    })
}

#[test]
fn flags_win_over_environment_over_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("countersign.toml");
    std::fs::write(
        &file,
        "listen = '127.0.0.1:1'\ntask-hub = 'file'\napproval-timeout = '1h'\n",
    )
    .unwrap();
    let flags = Settings {
        config: file.to_str().map(str::to_owned),
        listen: Some("127.0.0.1:3".to_owned()),
        ..Settings::default()
    };
    let config = resolve(
        flags,
        &[
            ("COUNTERSIGN_LISTEN", "127.0.0.1:2"),
            ("COUNTERSIGN_TASK_HUB", "environment"),
        ],
    )
    .unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.task_hub, "environment");
    assert_eq!(config.approval_timeout, Duration::from_secs(3600));
}

#[test]
fn all_problems_are_reported_together() {
    let flags = Settings {
        listen: Some("nowhere".to_owned()),
        scheduler_listen: Some("0.0.0.0:8080".to_owned()),
        dashboard_listen: Some("none".to_owned()),
        instance_link: Some("javascript:alert('{id}')".to_owned()),
        approval_timeout: Some("soon".to_owned()),
        auth: Some("maybe".to_owned()),
        lock_memory: Some("always".to_owned()),
        log_format: Some("xml".to_owned()),
        ..Settings::default()
    };
    let error = resolve(flags, &[("COUNTERSIGN_ADMIN_TOKEN", "short")]).unwrap_err();
    assert_eq!(error.problems.len(), 8, "{error}");
    assert!(!error.to_string().contains("short\""));
}

#[test]
fn a_key_vault_is_named_or_has_a_url() {
    let vault = |variables: &[(&str, &str)]| {
        let config = resolve(Settings::default(), variables)?;
        Ok::<_, ConfigError>(
            config
                .azure
                .key_vault
                .map(|vault| vault.address.to_string()),
        )
    };
    assert_eq!(vault(&[]), Ok(None));
    assert_eq!(
        vault(&[("KEY_VAULT_NAME", "team-codes")]),
        Ok(Some("https://team-codes.vault.azure.net".to_owned()))
    );
    assert_eq!(
        vault(&[
            ("KEY_VAULT_NAME", "team-codes"),
            ("KEY_VAULT_URL", "https://x.vault.usgovcloudapi.net/"),
        ]),
        Ok(Some("https://x.vault.usgovcloudapi.net".to_owned()))
    );
    for wrong in [
        "a",
        "http://x.vault.azure.net",
        "https://x.vault.azure.net/secrets",
    ] {
        let error = vault(&[("KEY_VAULT_URL", wrong)]).unwrap_err();
        assert!(error.to_string().contains("key-vault"), "{error}");
    }
    let error = vault(&[("KEY_VAULT_EMULATOR", "true")]).unwrap_err();
    assert!(
        error.to_string().contains("neither key-vault nor"),
        "{error}"
    );
}

#[test]
fn the_hub_is_named_by_a_connection_string_or_an_endpoint() {
    let hub = |flags: Settings, variables: &[(&str, &str)]| {
        resolve(flags, variables).map(|config| config.connection_string)
    };
    assert_eq!(
        hub(
            Settings::default(),
            &[
                ("DTS_ENDPOINT", "https://x.westeurope.durabletask.io"),
                ("COUNTERSIGN_TASK_HUB", "totp"),
            ]
        )
        .unwrap()
        .unwrap(),
        "Endpoint=https://x.westeurope.durabletask.io;TaskHub=totp;Authentication=DefaultAzure"
    );
    let flags = Settings {
        hub_endpoint: Some("http://127.0.0.1:8080".to_owned()),
        ..Settings::default()
    };
    let variables = [(
        "DTS_CONNECTION_STRING",
        "Endpoint=x;TaskHub=y;Authentication=None",
    )];
    assert_eq!(
        hub(flags.clone(), &variables).unwrap().unwrap(),
        "Endpoint=http://127.0.0.1:8080;TaskHub=default;Authentication=None"
    );
    let both = Settings {
        connection_string: Some("Endpoint=x;TaskHub=y;Authentication=None".to_owned()),
        ..flags
    };
    assert!(hub(both, &[]).unwrap_err().to_string().contains("not both"));
}

#[test]
fn one_identity_is_for_vault_and_hub() {
    use countersign_azure::{Selection, Source};
    let hub = "Endpoint=https://x;TaskHub=y;Authentication=ManagedIdentity;ClientID=abc";
    let config = resolve(Settings::default(), &[("DTS_CONNECTION_STRING", hub)]).unwrap();
    let identity = &config.azure.identity;
    assert_eq!(identity.selection, Selection::Only(Source::ManagedIdentity));
    assert_eq!(identity.client_id.as_deref(), Some("abc"));
    let error = resolve(
        Settings::default(),
        &[
            ("DTS_CONNECTION_STRING", hub),
            ("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential"),
        ],
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("different identities"),
        "{error}"
    );
    let error = resolve(
        Settings::default(),
        &[
            ("KEY_VAULT_NAME", "team-codes"),
            ("COUNTERSIGN_AZURE_IDENTITY", "unsigned"),
        ],
    )
    .unwrap_err();
    assert!(error.to_string().contains("emulator"), "{error}");
}

#[test]
fn no_access_control_only_on_the_loopback_address() {
    let flags = |listen: &str| Settings {
        listen: Some(listen.to_owned()),
        auth: Some("none".to_owned()),
        ..Settings::default()
    };
    assert!(resolve(flags("0.0.0.0:7071"), &[]).is_err());
    assert!(resolve(flags("[::1]:7071"), &[]).is_ok());
    assert!(resolve(flags("localhost:7071"), &[]).is_ok());
}

#[test]
fn an_unknown_key_in_the_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("countersign.toml");
    std::fs::write(&file, "lisen = '127.0.0.1:1'\n").unwrap();
    let flags = Settings {
        config: file.to_str().map(str::to_owned),
        ..Settings::default()
    };
    let error = resolve(flags, &[]).unwrap_err();
    assert!(error.to_string().contains("lisen"), "{error}");
}

#[test]
fn the_hubs_database_is_never_countersigns_own() {
    let own = ("COUNTERSIGN_DATABASE_URL", "postgres://ann:s3cret@db/front");
    let config = resolve(Settings::default(), &[own]).unwrap();
    assert_eq!(config.hub_database, None, "it is not derived");
    for (more, with) in [
        (
            vec![
                own,
                (
                    "COUNTERSIGN_HUB_DATABASE_URL",
                    "postgres://ann:0ther@DB:5432/front",
                ),
            ],
            "hub-database-url names the database and role of database-url",
        ),
        (
            vec![("COUNTERSIGN_HUB_DATABASE_URL", "mysql://ann:s3cret@db/hub")],
            "hub-database-url: ",
        ),
        (
            vec![("COUNTERSIGN_HUB_DATABASE_IDENTITY", "true")],
            "hub-database-identity needs hub-database-url",
        ),
        (
            vec![
                (
                    "COUNTERSIGN_HUB_DATABASE_URL",
                    "postgres://hub:s3cret@db/hub",
                ),
                ("COUNTERSIGN_HUB_DATABASE_IDENTITY", "true"),
            ],
            "leave one of them out",
        ),
        (
            vec![
                ("COUNTERSIGN_HUB_DATABASE_URL", "postgres://hub@db/hub"),
                ("COUNTERSIGN_HUB_ENDPOINT", "http://127.0.0.1:8080"),
            ],
            "names another task hub",
        ),
    ] {
        let refused = resolve(Settings::default(), &more).unwrap_err().to_string();
        assert!(refused.contains(with), "{with} in {refused}");
        assert!(!refused.contains("s3cret"), "{refused}");
    }
    let hub = (
        "COUNTERSIGN_HUB_DATABASE_URL",
        "postgres://hub@x.postgres.database.azure.com/hub",
    );
    let config = resolve(Settings::default(), &[own, hub]).unwrap();
    assert!(
        config.hub_database.unwrap().tokens,
        "as for Countersign's own"
    );
}
