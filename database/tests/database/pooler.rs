//! PgBouncer, where it is installed.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use countersign_database::testing::{Postgres, as_server};

const PROGRAM: &str = "/usr/sbin/pgbouncer";

/// A pooler in front of a server.
pub(crate) struct Pooler {
    port: u16,
    process: Child,
    _folder: tempfile::TempDir,
}

impl Pooler {
    /// None where it is not installed, which is said on the standard output.
    #[allow(clippy::print_stdout)]
    pub(crate) fn start(server: &Postgres, database: &str, mode: &str) -> Option<Self> {
        if !Path::new(PROGRAM).is_file() {
            println!("left out, since PgBouncer is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(folder.path(), open).unwrap();
        let port = {
            let free = TcpListener::bind("127.0.0.1:0").unwrap();
            free.local_addr().unwrap().port()
        };
        let settings = format!(
            "[databases]\n\
             {database} = host={} port={} user=countersign\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = {mode}\n",
            server.folder().display(),
            server.port(),
        );
        let file = folder.path().join("pgbouncer.ini");
        std::fs::write(&file, settings).unwrap();
        let process = as_server(Path::new(PROGRAM))
            .arg("--quiet")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Self {
            port,
            process,
            _folder: folder,
        };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it starts");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(started)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
