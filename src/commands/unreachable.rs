//! Why a server gave no answer.

use std::error::Error;
use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use url::Url;

use super::{Exit, Fault, pinned};

/// For how long a program may speak first.
const FIRST_WORD: Duration = Duration::from_millis(500);

/// The error for a request to `base` that failed without an answer.
pub(super) async fn fault(base: &Url, error: &reqwest::Error) -> Fault {
    let address = base.authority();
    let tls: Option<&rustls::Error> = cause(error);
    let refused = cause::<std::io::Error>(error)
        .is_none_or(|error| matches!(error.kind(), ErrorKind::ConnectionRefused));
    let garbled = cause::<hyper::Error>(error).is_some_and(hyper::Error::is_parse);
    let broke_off = !error.is_connect() && !error.is_timeout();
    if garbled || (broke_off && speaks_first(base).await) {
        return Fault::new(
            Exit::NotOurServer,
            format!(
                "the program at {address} does not speak HTTP, so it is not a countersign front \
                 door: check --server, and whether it should begin with https://"
            ),
        );
    }
    if let Some(rustls::Error::InvalidMessage(_)) = tls {
        return Fault::new(
            Exit::NotOurServer,
            format!(
                "the program at {address} does not speak TLS: check --server, and whether it \
                 should begin with http://"
            ),
        );
    }
    if tls == Some(&pinned::ANOTHER) {
        return Fault::new(
            Exit::NotOurServer,
            format!(
                "another program is listening at {address}: its certificate is not the one of the \
                 data folder's server, and nothing was sent. Stop it, or start the server at \
                 another address with --listen"
            ),
        );
    }
    let reason = match tls {
        Some(error) => format!("{error}. Check its certificate, and the name in --server"),
        None if error.is_timeout() => "it did not answer in time".to_owned(),
        None if error.is_connect() && !refused => root(error),
        None => "is it running? Start it with `countersign serve`, or name another with --server"
            .to_owned(),
    };
    let fault = Fault::new(
        Exit::Failed,
        format!("cannot reach the server at {base}: {reason}"),
    );
    match tls {
        // The same certificate is there the next time.
        Some(_) => fault,
        None => fault.passing(),
    }
}

/// Whether the program at an address speaks before it is asked, as no HTTP server does: it broke
/// the connection off, which a server that is ending does too.
async fn speaks_first(base: &Url) -> bool {
    let (Some(host), Some(port)) = (base.host_str(), base.port_or_known_default()) else {
        return false;
    };
    let host = host.trim_matches(['[', ']']);
    let word = async {
        let mut connection = TcpStream::connect((host, port)).await?;
        connection.read_u8().await
    };
    matches!(tokio::time::timeout(FIRST_WORD, word).await, Ok(Ok(_)))
}

/// The first of an error's causes that is a `T`. Those that an I/O error wraps are causes too.
fn cause<'a, T: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<std::io::Error>();
        let wrapped = wrapped.and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// What the innermost cause says.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}
