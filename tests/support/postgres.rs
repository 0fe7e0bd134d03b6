//! A PostgreSQL of the tests' own: a cluster in a temporary folder, on loopback and on a socket in that folder.
//!
//! It lives under a shell that reads words from a pipe of the test process. The pipe ends with the process, whatever ends
//! it, and then the shell stops the server and removes the folder. PostgreSQL does not run as root: where the tests do,
//! all of it runs as the user `postgres`.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};

/// The password of the role `keyed`, which gets in with it alone; the role `didit` needs none.
pub const PASSWORD: &str = "canary0password'0 %@:/";

/// What of settings makes tests fast. Nothing that is committed is lost to a server that dies, only to a machine that
/// does.
const FAST: [&str; 3] = ["fsync=off", "full_page_writes=off", "shared_buffers=32MB"];

/// For a cluster that keeps what it commits as one in service does.
pub const DURABLE: &[&str] = &["fsync=on", "full_page_writes=on"];

/// How long a server may take to answer, on a machine that has other things to do.
const MOMENTS: Duration = Duration::from_secs(60);

/// Text is ordered as in most databases in service, not by its bytes, where the server can do that.
const SHELL: &str = r#"
bin=$1 folder=$2; shift 2
trap '' PIPE
cd "$folder" || exit 1
make() {
  "$bin/initdb" -D data -U admin -A trust --encoding=UTF8 --locale=C.UTF-8 --no-sync --no-instructions "$@" >>log 2>&1 </dev/null
}
pid=
if make --locale-provider=icu --icu-locale=en-US || { rm -rf data; make; }; then
  printf '%s\n' 'local all all trust' 'host all keyed 127.0.0.1/32 scram-sha-256' 'host all all 127.0.0.1/32 trust' >data/pg_hba.conf
  echo made
  while read -r word signal; do
    case $word in
      start) "$bin/postgres" -D data "$@" >>log 2>&1 </dev/null & pid=$! ;;
      stop) kill -s "$signal" "$pid"; wait "$pid"; pid= ;;
    esac
    echo done
  done
fi
if [ -n "$pid" ]; then
  kill -s QUIT "$pid"
  wait "$pid"
fi
rm -rf "$folder"
"#;

/// An authority, and a certificate of a server by it, which is no authority itself.
const CERTIFICATES: &str = r"
command -v openssl >/dev/null || exit 127
key='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $key -days 2 -subj '/CN=authority of tests' -keyout ca.key -out ca.crt
openssl req $key -subj /CN=localhost -keyout server.key -out server.csr
printf '%s\n' 'subjectAltName=IP:127.0.0.1,DNS:localhost' basicConstraints=CA:FALSE >server.ext
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile server.ext -out server.crt
chmod 600 server.key
";

/// A running server, or one that a test stopped.
pub struct Cluster {
    folder: PathBuf,
    pub port: u16,
    shell: Mutex<Shell>,
    databases: AtomicU32,
}

struct Shell {
    child: Child,
    // `None` only while dropping.
    words: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// A database that goes away with the test.
pub struct Database<'c> {
    cluster: &'c Cluster,
    name: String,
}

/// The cluster that the tests of this process share; `None`, said on stderr, where there is no PostgreSQL.
pub fn cluster() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| Some(Cluster::make(&programs()?, &[]))).as_ref();
    if shared.is_none() {
        left_out(NONE);
    }
    shared
}

impl Cluster {
    /// A cluster for one test, which may stop it and start it again; `None`, said on stderr, where there is no PostgreSQL.
    pub fn own(settings: &[&str]) -> Option<Self> {
        let programs = programs();
        if programs.is_none() {
            left_out(NONE);
        }
        Some(Self::make(&programs?, settings))
    }

    /// A cluster that talks TLS, with a certificate for `127.0.0.1` and `localhost` by an authority of its own,
    /// [`Self::authority`]; `None`, said on stderr, where there is no PostgreSQL or no openssl.
    pub fn with_tls() -> Option<Self> {
        let own = Self::own(&[])?;
        let made = unprivileged("/bin/sh").args(["-e", "-c", CERTIFICATES]).current_dir(own.folder()).output().unwrap();
        if made.status.code() == Some(127) {
            left_out("no openssl here; install Debian's openssl package");
            return None;
        }
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let mut admin = own.admin();
        for (setting, value) in [("ssl", "on"), ("ssl_cert_file", "server.crt"), ("ssl_key_file", "server.key")] {
            let value = if setting == "ssl" { value.to_owned() } else { own.folder.join(value).display().to_string() };
            admin.batch_execute(&format!("ALTER SYSTEM SET {setting} = '{value}'")).unwrap();
        }
        drop(admin);
        own.restart();
        Some(own)
    }

    /// The certificate of the authority by which a server's that talks TLS is checked.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    fn make(programs: &Path, settings: &[&str]) -> Self {
        let (folder, port) = (new_folder(), free_port());
        let mut command = unprivileged("/bin/sh");
        command.args(["-c", SHELL, "postgres-of-tests"]).arg(programs).arg(&folder);
        let place = format!("unix_socket_directories={}", folder.display());
        let port_setting = format!("port={port}");
        let fixed = [&place, &port_setting, "listen_addresses=127.0.0.1", "max_connections=300"];
        for setting in FAST.iter().chain(&fixed).chain(settings) {
            command.args(["-c", setting]);
        }
        // Nothing of the test's own output is held open, and a Ctrl-C is not for it.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        let mut child = command.spawn().unwrap();
        let (words, answers) = (child.stdin.take(), BufReader::new(child.stdout.take().unwrap()));
        let shell = Mutex::new(Shell { child, words, answers });
        let cluster = Self { folder, port, shell, databases: AtomicU32::new(0) };
        assert_eq!(cluster.shell.lock().unwrap().answer(), "made", "{}", cluster.log());
        cluster.start();
        let mut admin = cluster.admin();
        let password = PASSWORD.replace('\'', "''");
        let roles = format!(
            "CREATE ROLE didit LOGIN; SET password_encryption = 'scram-sha-256'; CREATE ROLE keyed LOGIN PASSWORD '{password}' IN ROLE didit"
        );
        admin.batch_execute(&roles).unwrap();
        cluster
    }

    /// Starts the server, and waits until it answers.
    pub fn start(&self) {
        self.shell.lock().unwrap().tell("start");
        let until = Instant::now() + MOMENTS;
        while self.connect("admin", "postgres").is_err() {
            assert!(Instant::now() < until, "PostgreSQL does not start:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Ends all sessions and the server, as an administrator does who is in a hurry.
    pub fn stop(&self) {
        self.shell.lock().unwrap().tell("stop INT");
    }

    /// The server's end as after a crash: nobody is told, and the next start recovers.
    pub fn stop_immediately(&self) {
        self.shell.lock().unwrap().tell("stop QUIT");
    }

    pub fn restart(&self) {
        self.stop();
        self.start();
    }

    /// An empty database, which belongs to the role `didit`.
    pub fn database(&self) -> Database<'_> {
        self.create("")
    }

    fn create(&self, how: &str) -> Database<'_> {
        let name = format!("t{}", self.databases.fetch_add(1, Ordering::SeqCst));
        self.admin().batch_execute(&format!("CREATE DATABASE {name} OWNER didit {how}")).unwrap();
        Database { cluster: self, name }
    }

    /// A session that may do everything.
    #[track_caller]
    pub fn admin(&self) -> Client {
        self.connect("admin", "postgres").unwrap_or_else(|error| panic!("{error}\n{}", self.log()))
    }

    /// The folder with its socket and its log.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the server wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn connect(&self, role: &str, database: &str) -> Result<Client, postgres::Error> {
        let mut config = Client::configure();
        config.host("127.0.0.1").port(self.port).user(role).dbname(database).connect_timeout(MOMENTS).connect(NoTls)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let shell = self.shell.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(shell.words.take());
        let _ = shell.child.wait();
    }
}

impl Shell {
    fn tell(&mut self, word: &str) {
        writeln!(self.words.as_ref().unwrap(), "{word}").unwrap();
        assert_eq!(self.answer(), "done");
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Database<'_> {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the program is given as its ledger.
    pub fn url(&self) -> String {
        self.url_at(self.cluster.port)
    }

    /// The same by another port, as that of a proxy.
    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://didit@127.0.0.1:{port}/{}", self.name)
    }

    /// The same by the socket.
    pub fn url_by_socket(&self) -> String {
        let folder = self.cluster.folder.display().to_string().replace('/', "%2F");
        format!("postgres://didit@{folder}:{}/{}", self.cluster.port, self.name)
    }

    /// For the role that has to say [`PASSWORD`].
    pub fn url_for_keyed(&self) -> String {
        self.url().replace("didit@", "keyed@")
    }

    /// Another database with the same in it. Nobody may use this one meanwhile.
    pub fn copy(&self) -> Self {
        self.cluster.create(&format!("TEMPLATE {}", self.name))
    }

    /// A session of the role that the program has.
    pub fn connect(&self) -> Client {
        self.cluster.connect("didit", &self.name).unwrap()
    }

    /// A session in which references between tables are not looked at.
    pub fn connect_without_references(&self) -> Client {
        let mut client = self.cluster.connect("admin", &self.name).unwrap();
        client.batch_execute("SET session_replication_role = replica").unwrap();
        client
    }

    /// How many sessions others have with it.
    pub fn sessions(&self) -> i64 {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()";
        self.cluster.admin().query_one(sql, &[&self.name]).unwrap().get(0)
    }

    /// Ends all sessions that others have with it.
    pub fn end_sessions(&self) {
        let sql =
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1 AND pid <> pg_backend_pid()";
        self.cluster.admin().execute(sql, &[&self.name]).unwrap();
    }
}

impl Drop for Database<'_> {
    fn drop(&mut self) {
        // A server that a test stopped takes it along with its folder.
        if let Ok(mut admin) = self.cluster.connect("admin", "postgres") {
            let _ = admin.batch_execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        }
    }
}

/// Where the server's programs are, if they are there and may be run.
fn programs() -> Option<PathBuf> {
    static FOUND: OnceLock<Option<PathBuf>> = OnceLock::new();
    let has_both = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    let find = || {
        let path = std::env::var_os("PATH").unwrap_or_default();
        // Debian's, the newest first.
        let mut debian: Vec<PathBuf> =
            fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|it| it.path()).collect();
        debian.sort_by_key(|folder| folder.file_name().and_then(|it| it.to_str()?.parse::<u32>().ok()));
        let debian = debian.into_iter().rev().map(|folder| folder.join("bin"));
        let told = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output();
        let told = told.ok().and_then(|told| Some(PathBuf::from(String::from_utf8(told.stdout).ok()?.trim_end())));
        let found = std::env::split_paths(&path).chain(debian).chain(told).find(has_both)?;
        let works = unprivileged("true").status().is_ok_and(|ended| ended.success());
        works.then_some(found)
    };
    FOUND.get_or_init(find).clone()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A program, as somebody who is not root.
fn unprivileged(program: &str) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "postgres", "--regid", "postgres", "--clear-groups", program]);
    command
}

const NONE: &str = "no PostgreSQL here; install Debian's postgresql package";

fn left_out(why: &str) {
    let is_asked_for = std::env::var("DIDIT_SYNC_TEST_LEDGER").is_ok_and(|ledger| ledger == "postgres");
    assert!(!is_asked_for, "DIDIT_SYNC_TEST_LEDGER=postgres, but {why}");
    // Past the test's capture, so that it is seen.
    let mut line = format!("left out: {why}");
    if let Some(name) = std::thread::current().name() {
        let _ = write!(line, " ({name})");
    }
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A new folder, which belongs to whom the server runs as. The shell removes it.
fn new_folder() -> PathBuf {
    let folder = tempfile::Builder::new().prefix("didit-sync-pg-").tempdir().unwrap().keep();
    if is_root() {
        let id = |flag: &str| {
            let told = unprivileged("id").arg(flag).output().unwrap();
            String::from_utf8(told.stdout).unwrap().trim().parse().unwrap()
        };
        std::os::unix::fs::chown(&folder, Some(id("-u")), Some(id("-g"))).unwrap();
        assert_ne!(fs::metadata(&folder).unwrap().uid(), 0);
    }
    folder
}

/// A port that nobody has. It lies below those that the kernel gives to others, so that it is free again after a stop.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes begin at different places.
    let first = (std::process::id() % 10_000) as u16;
    loop {
        let port = 20_000 + (first + NEXT.fetch_add(1, Ordering::SeqCst)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
