//! PostgreSQL for tests: a cluster of its own in a temporary folder, which ends with the
//! test's process, however that ends.
//!
//! The programs come from `POSTGRES_BIN`, the search path or where Debian puts them. Where
//! there are none, tests are left out and say so; with `REQUIRE_POSTGRES=1` they fail.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::DatabaseUrl;

/// Who owns everything in it.
const OWNER: &str = "countersign";
/// How long the server may take to start.
const START: Duration = Duration::from_secs(60);
/// Ends the server when the standard input ends, as it does with the test's process.
const WATCHED: &str = r#"
"$@" >"$LOG" 2>&1 </dev/null &
server=$!
cat >/dev/null
kill -INT "$server" 2>/dev/null
wait "$server"
[ -e "$FOLDER/stopped" ] || rm -rf "$FOLDER"
"#;

/// What a cluster is like.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The password that logins over TCP have to give.
    pub password: Option<String>,
    /// Certificate and key for TLS, in PEM.
    pub tls: Option<(String, String)>,
    /// Whether it is a replica, which takes no changes.
    pub replica: bool,
    /// Whether what is committed survives a loss of power, as where it is measured: not needed of
    /// a cluster that ends with its test.
    pub durable: bool,
    /// How far its clock is off, as libfaketime takes it, such as `+3d`. Where that is not
    /// installed, nothing starts, which is said on the standard output.
    pub clock: Option<&'static str>,
}

/// A running server.
pub struct Postgres {
    folder: PathBuf,
    port: u16,
    setup: Setup,
    server: Option<Child>,
}

impl Postgres {
    /// The one that the tests of this process share; none where there is no PostgreSQL, which
    /// is said on the standard output.
    ///
    /// # Panics
    ///
    /// When there is none and `REQUIRE_POSTGRES=1`, or it does not start.
    pub fn shared() -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start(Setup::default()))
            .as_ref()
    }

    /// A cluster of its own.
    ///
    /// # Panics
    ///
    /// As [`Postgres::shared`].
    #[must_use]
    #[allow(clippy::print_stdout, clippy::panic)]
    pub fn start(setup: Setup) -> Option<Self> {
        let Some(programs) = programs() else {
            assert!(
                std::env::var_os("REQUIRE_POSTGRES").is_none_or(|value| value != "1"),
                "PostgreSQL is not installed, and REQUIRE_POSTGRES=1"
            );
            println!("left out, since PostgreSQL is not installed");
            return None;
        };
        if setup.clock.is_some() && faketime().is_none() {
            println!("left out, since libfaketime is not installed");
            return None;
        }
        match Self::try_start(&programs, setup) {
            Ok(started) => Some(started),
            Err(error) => panic!("PostgreSQL does not start: {error}"),
        }
    }

    fn try_start(programs: &Path, setup: Setup) -> Result<Self, String> {
        let told = |error: std::io::Error| error.to_string();
        let folder = TempDir::with_prefix("pg").map_err(told)?.keep();
        let data = folder.join("data");
        let mut postgres = Self {
            folder,
            port: TcpListener::bind("127.0.0.1:0")
                .and_then(|listener| listener.local_addr())
                .map_err(told)?
                .port(),
            setup,
            server: None,
        };
        let mut initdb = as_server(&programs.join("initdb"));
        initdb.args([
            "--no-sync",
            "--no-instructions",
            "--encoding=UTF8",
            "--locale=C",
        ]);
        initdb.args(["--auth-local=trust", "--username", OWNER]);
        if let Some(password) = &postgres.setup.password {
            let file = postgres.folder.join("password");
            fs::write(&file, password).map_err(told)?;
            initdb
                .arg("--auth-host=scram-sha-256")
                .arg("--pwfile")
                .arg(file);
        } else {
            initdb.arg("--auth-host=trust");
        }
        if let Some((certificate, key)) = &postgres.setup.tls {
            for (name, text) in [("server.crt", certificate), ("server.key", key)] {
                let file = postgres.folder.join(name);
                fs::write(&file, text).map_err(told)?;
                let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
                fs::set_permissions(&file, private).map_err(told)?;
            }
        }
        own(&postgres.folder).map_err(told)?;
        let made = initdb.arg("--pgdata").arg(&data).output().map_err(told)?;
        if !made.status.success() {
            return Err(String::from_utf8_lossy(&made.stderr).into_owned());
        }
        if postgres.setup.replica {
            fs::write(data.join("standby.signal"), "").map_err(told)?;
            own(&data).map_err(told)?;
        }
        postgres.run(programs)?;
        Ok(postgres)
    }

    /// Starts the server on the data that is there, and waits until it answers.
    fn run(&mut self, programs: &Path) -> Result<(), String> {
        let mut server = Command::new("sh");
        server.args(["-c", WATCHED, "sh"]);
        let program = programs.join("postgres");
        let inner = match self.setup.clock.zip(faketime()) {
            None => as_server(&program),
            Some((off, library)) => {
                let mut faked = as_server(Path::new("env"));
                faked.arg(format!("LD_PRELOAD={}", library.display()));
                faked.arg(format!("FAKETIME={off}"));
                // Waiting is left alone.
                faked.arg("FAKETIME_DONT_FAKE_MONOTONIC=1").arg(program);
                faked
            }
        };
        server.arg(inner.get_program()).args(inner.get_args());
        server.arg("-D").arg(self.folder.join("data"));
        server.arg("-k").arg(&self.folder);
        server.arg("-p").arg(self.port.to_string());
        let (fsync, memory) = match self.setup.durable {
            true => ("fsync=on", "shared_buffers=128MB"),
            false => ("fsync=off", "shared_buffers=32MB"),
        };
        for setting in [
            "listen_addresses=127.0.0.1",
            "max_connections=200",
            fsync,
            memory,
        ] {
            server.args(["-c", setting]);
        }
        if self.setup.tls.is_some() {
            let file = |name| self.folder.join(name).display().to_string();
            server.args(["-c", "ssl=on"]);
            server.args(["-c", &format!("ssl_cert_file={}", file("server.crt"))]);
            server.args(["-c", &format!("ssl_key_file={}", file("server.key"))]);
        }
        let server = server
            .current_dir("/")
            .env("LOG", self.folder.join("log"))
            .env("FOLDER", &self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        self.server = Some(server.map_err(|error| error.to_string())?);
        let begun = Instant::now();
        while let Err(error) = self.psql("postgres", "SELECT 1") {
            if begun.elapsed() > START {
                let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
                return Err(format!("{error}\n{log}"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// A new and empty database in it, reached by a Unix socket.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    pub fn database(&self) -> DatabaseUrl {
        self.database_named(&self.make())
    }

    /// The database `name` in it, reached by a Unix socket.
    ///
    /// # Panics
    ///
    /// Never, with a name of [`Postgres::make`].
    #[must_use]
    pub fn database_named(&self, name: &str) -> DatabaseUrl {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        self.url(&format!(
            "postgresql://{OWNER}@{folder}:{}/{name}",
            self.port
        ))
    }

    /// A new and empty database in it, by name.
    ///
    /// # Panics
    ///
    /// When it cannot be made.
    #[must_use]
    #[allow(clippy::panic)]
    pub fn make(&self) -> String {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", MADE.fetch_add(1, Ordering::Relaxed));
        match self.psql("postgres", &format!("CREATE DATABASE {name}")) {
            Ok(_) => name,
            Err(error) => panic!("a database cannot be made: {error}"),
        }
    }

    /// Stops the server, as an administrator would.
    ///
    /// # Errors
    ///
    /// What the system says.
    pub fn stop(&mut self) -> std::io::Result<()> {
        fs::write(self.folder.join("stopped"), "")?;
        if let Some(mut server) = self.server.take() {
            drop(server.stdin.take());
            server.wait()?;
        }
        Ok(())
    }

    /// Starts it again, with all that it holds.
    ///
    /// # Errors
    ///
    /// Why it does not start.
    pub fn start_again(&mut self) -> Result<(), String> {
        fs::remove_file(self.folder.join("stopped")).map_err(|error| error.to_string())?;
        let programs = programs().ok_or("PostgreSQL is gone")?;
        self.run(&programs)
    }

    /// The port on which it listens at 127.0.0.1.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The folder with its Unix socket.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Runs statements as the owner of everything, and answers what is printed.
    ///
    /// # Errors
    ///
    /// What the program says.
    pub fn psql(&self, database: &str, statements: &str) -> Result<String, String> {
        let beside = programs().map(|folder| folder.join("psql"));
        let program = beside.filter(|program| program.is_file());
        let program = program.unwrap_or_else(|| "psql".into());
        let output = Command::new(program)
            .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", OWNER])
            .arg("-h")
            .arg(&self.folder)
            .args([
                "-p",
                &self.port.to_string(),
                "-d",
                database,
                "-c",
                statements,
            ])
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout)
                .trim_end()
                .to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// All that a database holds, as an administrator's backup has it.
    ///
    /// # Errors
    ///
    /// What the program says.
    pub fn dump(&self, database: &str) -> Result<String, String> {
        let beside = programs().map(|folder| folder.join("pg_dump"));
        let program = beside.filter(|program| program.is_file());
        let output = Command::new(program.unwrap_or_else(|| "pg_dump".into()))
            .args(["-U", OWNER, "-p", &self.port.to_string(), "-h"])
            .arg(&self.folder)
            .arg(database)
            .output()
            .map_err(|error| error.to_string())?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// Brings what [`Postgres::dump`] has answered into an empty database.
    ///
    /// # Errors
    ///
    /// What the program says.
    pub fn restore(&self, database: &str, dump: &str) -> Result<(), String> {
        let told = |error: std::io::Error| error.to_string();
        let file = self.folder.join(format!("{database}.sql"));
        fs::write(&file, dump).map_err(told)?;
        let read = format!("\\i {}", file.display());
        let restored = self.psql(database, &read).map(drop);
        fs::remove_file(&file).map_err(told)?;
        restored
    }

    #[allow(clippy::panic)]
    fn url(&self, text: &str) -> DatabaseUrl {
        match text.parse() {
            Ok(url) => url,
            Err(error) => panic!("{text}: {error}"),
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.server.is_none() {
            // It was stopped, and nothing else removes the folder.
            let _ = fs::remove_dir_all(&self.folder);
        }
        if let Some(mut server) = self.server.take() {
            drop(server.stdin.take());
            // It removes the folder too.
            let _ = server.wait();
        }
    }
}

/// Where PostgreSQL's programs are.
fn programs() -> Option<PathBuf> {
    let has = |folder: &PathBuf| {
        ["initdb", "postgres"]
            .iter()
            .all(|it| folder.join(it).is_file())
    };
    if let Some(folder) = std::env::var_os("POSTGRES_BIN") {
        return Some(PathBuf::from(folder)).filter(has);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    if let Some(found) = std::env::split_paths(&path).find(has) {
        // The other programs are beside what a link leads to.
        let initdb = fs::canonicalize(found.join("initdb")).ok()?;
        return initdb.parent().map(Path::to_owned);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let mut folders: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .filter(|(_, folder)| has(folder))
        .collect();
    folders.sort();
    folders.pop().map(|(_, folder)| folder)
}

/// The library that shows a process another time, where Debian puts it.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    folders
        .filter_map(|folder| Some(folder.ok()?.path().join("faketime/libfaketime.so.1")))
        .find(|library| library.exists())
}

/// A program that runs as a user other than root, as PostgreSQL and its tools require.
#[must_use]
pub fn as_server(program: &Path) -> Command {
    match server_user() {
        None => Command::new(program),
        Some((user, group)) => {
            let mut command = Command::new("setpriv");
            command
                .arg(format!("--reuid={user}"))
                .arg(format!("--regid={group}"))
                .args(["--clear-groups", "--"])
                .arg(program);
            command.current_dir("/");
            command
        }
    }
}

/// The user and group to run as, if this is root.
fn server_user() -> Option<(u32, u32)> {
    let uid = fs::metadata("/proc/self").map(|about| std::os::unix::fs::MetadataExt::uid(&about));
    if !matches!(uid, Ok(0)) {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let of = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut parts = line.split(':').skip(2);
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    of("postgres").or_else(|| of("nobody"))
}

/// Gives a folder and the files in it to the user that the server runs as.
fn own(folder: &Path) -> std::io::Result<()> {
    let Some((user, group)) = server_user() else {
        return Ok(());
    };
    chown(folder, Some(user), Some(group))?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            chown(entry.path(), Some(user), Some(group))?;
        }
    }
    Ok(())
}
