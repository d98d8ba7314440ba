//! Where the database is.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use percent_encoding::percent_decode_str;
use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

/// What the hosts of Azure Database for PostgreSQL end with.
const AZURE: &str = ".postgres.database.azure.com";
const PORT: u16 = 5432;

/// Why a text is no URL of a database. It repeats nothing of the text that could be the
/// password.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidDatabaseUrl {
    /// It does not have the form of such a URL.
    #[error(
        "the database's URL must have the form postgresql://USER:PASSWORD@HOST:PORT/DATABASE, \
         with special characters in user and password percent-encoded"
    )]
    Form,
    /// It names no host.
    #[error(
        "the database's URL names no host; write a folder with a Unix socket percent-encoded in \
         its place, as in postgresql://USER@%2Frun%2Fpostgresql/DATABASE"
    )]
    Host,
    /// It names no user.
    #[error("the database's URL names no user")]
    User,
    /// It names no database.
    #[error("the database's URL names no database; add /DATABASE after the host")]
    Database,
    /// It sets something that is not known.
    #[error("the database's URL sets {0}, which is not known; it can set sslmode and sslrootcert")]
    Setting(String),
    /// It sets something twice.
    #[error("the database's URL sets {0} twice")]
    Twice(String),
    /// It asks for encryption that does not say who answers.
    #[error(
        "the database's URL has an sslmode that is not known or would not always verify the \
         server's certificate; it can be verify-full or disable"
    )]
    SslMode,
    /// It sets a certificate for a connection without TLS.
    #[error("the database's URL sets sslrootcert, but its connections use no TLS")]
    NeedlessRoot,
}

/// A host or a folder with a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DatabaseAddress {
    Host(String),
    Folder(PathBuf),
}

/// Where a PostgreSQL database is and how to log in to it:
/// `postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=…&sslrootcert=…`.
///
/// Connections use TLS, and the server's certificate must be valid for the host, unless the
/// server is on the same machine or `sslmode=disable` is set. Neither `Display` nor `Debug`
/// shows the password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    pub(crate) place: DatabaseAddress,
    pub(crate) port: u16,
    pub(crate) user: String,
    pub(crate) password: Option<Zeroizing<String>>,
    pub(crate) database: String,
    pub(crate) tls: bool,
    pub(crate) root: Option<PathBuf>,
}

impl DatabaseUrl {
    /// Whether it is a database of Azure, to which one logs in with tokens of Microsoft Entra.
    #[must_use]
    pub fn is_azure(&self) -> bool {
        match &self.place {
            DatabaseAddress::Host(host) => host.trim_end_matches('.').ends_with(AZURE),
            DatabaseAddress::Folder(_) => false,
        }
    }

    /// Whether another one leads to the same database as the same user, as far as the URLs say.
    #[must_use]
    pub fn is_same_login(&self, other: &Self) -> bool {
        let whole = |url: &Self| {
            (
                url.place.clone(),
                url.port,
                url.user.clone(),
                url.database.clone(),
            )
        };
        whole(self) == whole(other)
    }

    /// Whether it holds a password.
    #[must_use]
    pub const fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// Whether the connections use TLS.
    #[must_use]
    pub const fn uses_tls(&self) -> bool {
        self.tls
    }

    /// Whether the connections could be read on the way: they leave the machine without TLS.
    #[must_use]
    pub fn is_exposed(&self) -> bool {
        !self.tls && !self.place.is_here()
    }

    /// The file with certificates to trust in place of the system's.
    #[must_use]
    pub fn root(&self) -> Option<&Path> {
        self.root.as_deref()
    }
}

impl DatabaseAddress {
    /// Whether it is on this machine.
    fn is_here(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::Host(host) => {
                host == "localhost"
                    || host
                        .parse::<IpAddr>()
                        .is_ok_and(|address| address.is_loopback())
            }
        }
    }
}

impl FromStr for DatabaseUrl {
    type Err = InvalidDatabaseUrl;

    fn from_str(text: &str) -> Result<Self, InvalidDatabaseUrl> {
        let url = Url::parse(text).map_err(|error| match error {
            url::ParseError::EmptyHost => InvalidDatabaseUrl::Host,
            _ => InvalidDatabaseUrl::Form,
        })?;
        if !matches!(url.scheme(), "postgres" | "postgresql") || url.fragment().is_some() {
            return Err(InvalidDatabaseUrl::Form);
        }
        let host = decoded(url.host_str().unwrap_or_default())?;
        let place = match host.as_str() {
            "" => return Err(InvalidDatabaseUrl::Host),
            folder if folder.starts_with('/') => DatabaseAddress::Folder(PathBuf::from(folder)),
            // Brackets belong to the URL, not to the address.
            host => DatabaseAddress::Host(
                host.trim_start_matches('[')
                    .trim_end_matches(']')
                    .to_ascii_lowercase(),
            ),
        };
        let user = decoded(url.username())?;
        if user.is_empty() {
            return Err(InvalidDatabaseUrl::User);
        }
        let password = url.password().map(decoded).transpose()?.map(Zeroizing::new);
        let database = decoded(url.path().trim_start_matches('/'))?;
        if database.is_empty() {
            return Err(InvalidDatabaseUrl::Database);
        }
        let (mut tls, mut root) = (None, None);
        for (name, value) in url.query_pairs() {
            let again = match name.as_ref() {
                "sslmode" => tls
                    .replace(match value.as_ref() {
                        "verify-full" => true,
                        "disable" => false,
                        _ => return Err(InvalidDatabaseUrl::SslMode),
                    })
                    .is_some(),
                "sslrootcert" => root.replace(PathBuf::from(value.as_ref())).is_some(),
                // A password might stand in the wrong place, but not as a name.
                name => return Err(InvalidDatabaseUrl::Setting(name.escape_debug().to_string())),
            };
            if again {
                return Err(InvalidDatabaseUrl::Twice(name.into_owned()));
            }
        }
        let tls = tls.unwrap_or_else(|| root.is_some() || !place.is_here());
        if root.is_some() && !tls {
            return Err(InvalidDatabaseUrl::NeedlessRoot);
        }
        if tls && matches!(place, DatabaseAddress::Folder(_)) {
            return Err(InvalidDatabaseUrl::SslMode);
        }
        Ok(Self {
            place,
            port: url.port().unwrap_or(PORT),
            user,
            password,
            database,
            tls,
            root,
        })
    }
}

fn decoded(part: &str) -> Result<String, InvalidDatabaseUrl> {
    let text = percent_decode_str(part).decode_utf8();
    let text = text.map_err(|_| InvalidDatabaseUrl::Form)?.into_owned();
    match text.contains('\0') {
        true => Err(InvalidDatabaseUrl::Form),
        false => Ok(text),
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            port,
            user,
            database,
            ..
        } = self;
        match place {
            DatabaseAddress::Host(host) if host.contains(':') => {
                write!(f, "postgresql://{user}@[{host}]:{port}/{database}")
            }
            DatabaseAddress::Host(host) => {
                write!(f, "postgresql://{user}@{host}:{port}/{database}")
            }
            DatabaseAddress::Folder(folder) => {
                write!(
                    f,
                    "postgresql://{user}@{}:{port}/{database}",
                    folder.display()
                )
            }
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseUrl")
            .field("at", &self.to_string())
            .field("tls", &self.tls)
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> DatabaseUrl {
        text.parse().unwrap()
    }

    #[test]
    fn its_parts_are_read_and_the_password_is_not_shown() {
        let url =
            read("postgresql://ann:p%40ss%2Fw0rd@db.example.com:6432/front?sslmode=verify-full");
        assert_eq!(url.password.as_ref().unwrap().as_str(), "p@ss/w0rd");
        assert_eq!(
            url.to_string(),
            "postgresql://ann@db.example.com:6432/front"
        );
        assert!(!format!("{url:?} {url}").contains("p@ss"));
        let socket = read("postgres://ann@%2Frun%2Fpostgresql/front");
        assert_eq!(
            socket.place,
            DatabaseAddress::Folder("/run/postgresql".into())
        );
        assert_eq!((socket.port, socket.tls), (5432, false));
        assert_eq!(
            read("postgres://a@[::1]/b").to_string(),
            "postgresql://a@[::1]:5432/b"
        );
    }

    #[test]
    fn other_machines_are_reached_by_tls_only_unless_it_is_disabled() {
        for (text, tls, exposed) in [
            ("postgres://a@db/b", true, false),
            ("postgres://a@10.0.0.1/b", true, false),
            ("postgres://a@db/b?sslmode=disable", false, true),
            ("postgres://a@localhost/b", false, false),
            ("postgres://a@127.0.0.1/b", false, false),
            ("postgres://a@[::1]/b", false, false),
            ("postgres://a@127.0.0.1/b?sslmode=verify-full", true, false),
            ("postgres://a@127.0.0.1/b?sslrootcert=/x.pem", true, false),
        ] {
            let url = read(text);
            assert_eq!((url.uses_tls(), url.is_exposed()), (tls, exposed), "{text}");
        }
    }

    #[test]
    fn a_login_is_the_same_whatever_its_password() {
        let own = read("postgres://ann:one@db/front");
        assert!(own.is_same_login(&read("postgresql://ann:two@DB:5432/front?sslmode=disable")));
        for other in [
            "postgres://bob@db/front",
            "postgres://ann@db/hub",
            "postgres://ann@db2/front",
        ] {
            assert!(!own.is_same_login(&read(other)), "{other}");
        }
    }

    #[test]
    fn azures_databases_are_known_by_their_hosts() {
        assert!(read("postgres://a@x.postgres.database.azure.com/b").is_azure());
        assert!(read("postgres://a@X.Postgres.Database.Azure.com./b").is_azure());
        assert!(!read("postgres://a@postgres.database.azure.com.example.org/b").is_azure());
        assert!(!read("postgres://a@db/b").is_azure());
    }

    #[test]
    fn what_is_no_such_url_is_refused_without_repeating_the_password() {
        for (text, expected) in [
            ("", InvalidDatabaseUrl::Form),
            ("mysql://a:s3cret@b/c", InvalidDatabaseUrl::Form),
            ("postgres://a:s3cret@b:99999/c", InvalidDatabaseUrl::Form),
            ("postgres://a:s3cret%00@b/c", InvalidDatabaseUrl::Form),
            ("postgres://a:s3cret%ff@b/c", InvalidDatabaseUrl::Form),
            ("postgres:///c", InvalidDatabaseUrl::Host),
            ("postgres://:s3cret@b/c", InvalidDatabaseUrl::User),
            ("postgres://b/c", InvalidDatabaseUrl::User),
            ("postgres://a:s3cret@b", InvalidDatabaseUrl::Database),
            ("postgres://a:s3cret@b/", InvalidDatabaseUrl::Database),
            (
                "postgres://a@b/c?sslmode=require",
                InvalidDatabaseUrl::SslMode,
            ),
            (
                "postgres://a@b/c?sslmode=prefer",
                InvalidDatabaseUrl::SslMode,
            ),
            (
                "postgres://a@%2Frun/c?sslmode=verify-full",
                InvalidDatabaseUrl::SslMode,
            ),
            (
                "postgres://a@b/c?sslmode=disable&sslrootcert=/x",
                InvalidDatabaseUrl::NeedlessRoot,
            ),
            (
                "postgres://a@b/c?sslmode=disable&sslmode=verify-full",
                InvalidDatabaseUrl::Twice("sslmode".to_owned()),
            ),
            (
                "postgres://a@b/c?options=s3cret",
                InvalidDatabaseUrl::Setting("options".to_owned()),
            ),
        ] {
            let error = text.parse::<DatabaseUrl>().unwrap_err();
            assert_eq!(error, expected, "{text}");
            assert!(!error.to_string().contains("s3cret"), "{error}");
        }
    }
}
