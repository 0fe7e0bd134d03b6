//! Connections to a real server, which is started here where PostgreSQL is installed.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio_postgres::error::SqlState;

use super::Server;

const USERS: &str = "
    CREATE ROLE scram LOGIN PASSWORD 'scram secret';
    CREATE ROLE clear LOGIN PASSWORD 'clear secret';
    CREATE ROLE plain LOGIN;
    SET password_encryption = 'md5';
    CREATE ROLE md5 LOGIN PASSWORD 'md5 secret'";

/// The first line that fits decides.
const ACCESS: &str = "
    local all postgres trust
    local all all scram-sha-256
    host all scram all scram-sha-256
    host all clear all password
    host all md5 all md5
    hostnossl all plain all trust
    host all postgres all trust
";

/// A server of the test's own, which ends with it.
struct Cluster {
    folder: TempDir,
    programs: PathBuf,
    port: u16,
    is_running: bool,
}

impl Cluster {
    /// `None` where PostgreSQL isn't installed, which is said.
    fn new() -> Option<Self> {
        let Some(programs) = programs() else {
            left_out();
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { folder, programs, port, is_running: false };
        cluster.give_away();
        cluster.run("initdb", &["-D", &cluster.file("data"), "-A", "trust", "-U", "postgres", "-N", "--locale=C"]);
        fs::write(cluster.file("data/pg_hba.conf"), ACCESS.replace("\n    ", "\n")).unwrap();
        Some(cluster)
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The server refuses to run as root, and to use a key of somebody else.
    fn give_away(&self) {
        if rustix::process::geteuid().is_root() {
            let done = Command::new("chown").args(["-R", "postgres:"]).arg(self.folder.path()).status();
            assert!(done.unwrap().success());
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let program = self.programs.join(program);
        let mut command = if rustix::process::geteuid().is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        let log = fs::File::create(self.folder.path().join("out")).unwrap();
        let done = command.stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
        let said = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        // Not while another failure is on its way.
        let is_well = done.success() || std::thread::panicking();
        assert!(is_well, "{command:?}: {}{}", said("out"), said("log"));
    }

    /// Starts it anew, with this certificate or without TLS.
    fn restart(&mut self, certificate: Option<(&Certificate, &KeyPair)>) {
        let mut options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c fsync=off -k {}",
            self.port,
            self.folder.path().display()
        );
        if let Some((certificate, key)) = certificate {
            fs::write(self.file("server.pem"), certificate.pem()).unwrap();
            fs::write(self.file("server.key"), key.serialize_pem()).unwrap();
            fs::set_permissions(self.file("server.key"), Permissions::from_mode(0o600)).unwrap();
            let files =
                format!("-c ssl_cert_file={} -c ssl_key_file={}", self.file("server.pem"), self.file("server.key"));
            options += &format!(" -c ssl=on {files}");
        }
        self.give_away();
        self.run(
            "pg_ctl",
            &["restart", "-w", "-m", "fast", "-s", "-D", &self.file("data"), "-l", &self.file("log"), "-o", &options],
        );
        self.is_running = true;
    }

    /// Makes the users, over the socket.
    async fn make_users(&self) {
        let url = format!("postgres://postgres@/postgres?host={}&port={}", self.folder.path().display(), self.port);
        let (client, driver) = server(&url, &[]).connect().await.unwrap();
        let driver = tokio::spawn(driver);
        client.batch_execute(USERS).await.unwrap();
        drop(client);
        driver.await.unwrap().unwrap();
    }

    /// A URL to it by this name, with the rest of the URL.
    fn url(&self, who: &str, rest: &str) -> String {
        format!("postgres://{who}@localhost:{}/postgres?{rest}", self.port)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.is_running {
            self.run("pg_ctl", &["stop", "-m", "immediate", "-s", "-D", &self.file("data")]);
        }
    }
}

#[expect(clippy::print_stderr, reason = "what is left out is said")]
fn left_out() {
    eprintln!("left out: connections to a server, for there is no PostgreSQL in /usr/lib/postgresql");
}

/// Where the newest PostgreSQL is.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let found = versions.filter_map(|entry| Some((version(&entry.path())?, entry.path().join("bin"))));
    found.filter(|(_, programs)| programs.join("initdb").exists()).max().map(|(_, programs)| programs)
}

fn server(url: &str, variables: &[(&str, &str)]) -> Server {
    let env = |asked: &str| variables.iter().find(|(name, _)| *name == asked).map(|(_, value)| OsString::from(value));
    Server::parse(url, &env).unwrap_or_else(|error| panic!("{url}: {error}"))
}

/// What came of a connection: the version of TLS (empty without), or the error with its causes.
async fn outcome(server: &Server) -> Result<String, String> {
    let (client, driver) = server.connect().await.map_err(|error| {
        let causes = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
    })?;
    let driver = tokio::spawn(driver);
    let query = "SELECT coalesce(version, ''), application_name FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                 WHERE pid = pg_backend_pid()";
    let row = client.query_one(query, &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(1), "didit-sync");
    drop(client);
    driver.await.unwrap().unwrap();
    Ok(row.get(0))
}

const PLAIN: Result<&str, &str> = Ok("");
const TLS: Result<&str, &str> = Ok("TLSv1.");
const OFF: Result<&str, &str> = Err("server does not support TLS");
const SIGNER: Result<&str, &str> = Err("signed by nobody who is trusted");
const OWN: Result<&str, &str> = Err("not among the trusted ones");
const NAME: Result<&str, &str> = Err("not valid for name");

async fn expect(server: &Server, expected: Result<&str, &str>, of: &str) {
    let found = outcome(server).await;
    match (&found, expected) {
        (Ok(found), Ok(expected)) => {
            assert!(found.starts_with(expected) && found.is_empty() == expected.is_empty(), "{of}: {found:?}");
        }
        (Err(found), Err(expected)) => assert!(found.contains(expected), "{of}: {found}"),
        _ => panic!("{of}: {found:?}, not {expected:?}"),
    }
}

fn parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

/// One that may sign others, as `openssl req -x509` makes them.
fn authority(name: &str) -> CertificateParams {
    let mut parameters = parameters(name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters
}

#[tokio::test]
async fn each_mode_verifies_what_it_says() {
    let Some(mut cluster) = Cluster::new() else { return };
    let (key, authority_key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let issuer = Issuer::new(authority("an authority"), &authority_key);
    let root = authority("an authority").self_signed(&authority_key).unwrap();
    let selfsigned = authority("localhost").self_signed(&key).unwrap();
    let mut past = authority("localhost");
    past.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let past = past.self_signed(&key).unwrap();
    let right = parameters("localhost").signed_by(&key, &issuer).unwrap();
    let wrong = parameters("elsewhere.example").signed_by(&key, &issuer).unwrap();
    for (name, certificate) in [("root", &root), ("itself", &selfsigned), ("past", &past)] {
        fs::write(cluster.file(name), certificate.pem()).unwrap();
    }

    // For each mode with and without roots: TLS off, self-signed, another name, the right name.
    let cases = [
        ("disable", "", [PLAIN, PLAIN, PLAIN, PLAIN]),
        ("allow", "", [PLAIN, TLS, TLS, TLS]),
        ("prefer", "", [PLAIN, TLS, TLS, TLS]),
        ("require", "", [OFF, TLS, TLS, TLS]),
        ("verify-full", "system", [OFF, OWN, SIGNER, SIGNER]),
        ("disable", "root", [PLAIN, PLAIN, PLAIN, PLAIN]),
        // As in libpq, prefer does without what it can't verify.
        ("prefer", "root", [PLAIN, PLAIN, TLS, TLS]),
        ("require", "root", [OFF, OWN, TLS, TLS]),
        ("verify-ca", "root", [OFF, OWN, TLS, TLS]),
        ("verify-full", "root", [OFF, OWN, NAME, TLS]),
        ("require", "itself", [OFF, TLS, SIGNER, SIGNER]),
        ("verify-ca", "itself", [OFF, TLS, SIGNER, SIGNER]),
        ("verify-full", "itself", [OFF, TLS, SIGNER, SIGNER]),
    ];
    for (nth, certificate) in [None, Some(&selfsigned), Some(&wrong), Some(&right)].into_iter().enumerate() {
        cluster.restart(certificate.map(|certificate| (certificate, &key)));
        for (mode, roots, expected) in cases {
            let roots = if matches!(roots, "" | "system") { roots.to_owned() } else { cluster.file(roots) };
            let url = cluster.url("postgres", &format!("sslmode={mode}&sslrootcert={roots}"));
            expect(&server(&url, &[]), expected[nth], &format!("certificate {nth}: {url}")).await;
        }
    }
    // By address, its certificate is not the right one.
    let by_address = |host| format!("postgres://postgres@{host}:{}/postgres?sslmode=verify-full", cluster.port);
    let roots = [("PGSSLROOTCERT", &*cluster.file("root"))];
    expect(&server(&by_address("127.0.0.1"), &roots), NAME, "by address").await;
    let url = by_address("localhost") + "&hostaddr=127.0.0.1";
    expect(&server(&url, &roots), TLS, "by name and address").await;
    // Roots in the home folder are asked in weaker modes, too.
    fs::create_dir(cluster.file(".postgresql")).unwrap();
    let home = [("HOME", &*cluster.file(""))];
    for (roots, verify, require) in [("root", TLS, TLS), ("itself", SIGNER, SIGNER)] {
        fs::copy(cluster.file(roots), cluster.file(".postgresql/root.crt")).unwrap();
        expect(&server(&by_address("localhost"), &home), verify, roots).await;
        expect(&server(&cluster.url("postgres", "sslmode=require"), &home), require, roots).await;
    }
    for (versions, expected) in [
        ("ssl_max_protocol_version=TLSv1.2", Ok("TLSv1.2")),
        ("ssl_min_protocol_version=TLSv1.3", Ok("TLSv1.3")),
        ("sslnegotiation=direct", if is_direct(&cluster) { TLS } else { Err("") }),
        ("sslsni=0", TLS),
    ] {
        let url = cluster.url("postgres", &format!("sslmode=require&{versions}"));
        expect(&server(&url, &[]), expected, versions).await;
    }

    cluster.restart(Some((&past, &key)));
    let url = cluster.url("postgres", &format!("sslmode=verify-ca&sslrootcert={}", cluster.file("past")));
    expect(&server(&url, &[]), Err("expired"), "past").await;
}

fn is_direct(cluster: &Cluster) -> bool {
    let version = cluster.programs.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    version.and_then(|version| version.parse::<u32>().ok()).is_some_and(|version| version >= 17)
}

#[tokio::test]
async fn passwords_of_each_kind_open_the_server() {
    let Some(mut cluster) = Cluster::new() else { return };
    let key = KeyPair::generate().unwrap();
    let certificate = parameters("localhost").self_signed(&key).unwrap();
    cluster.restart(Some((&certificate, &key)));
    cluster.make_users().await;

    let file = cluster.file(".pgpass");
    fs::write(&file, format!("localhost:{}:*:scram:scram secret\n", cluster.port)).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let home = cluster.file("");
    let cases = [
        ("scram:scram%20secret", "", ("", ""), TLS),
        ("scram", "password=scram%20secret", ("", ""), TLS),
        ("scram", "", ("PGPASSWORD", "scram secret"), TLS),
        ("scram", "", ("PGPASSFILE", &*file), TLS),
        ("scram", "", ("HOME", &*home), TLS),
        ("scram", "", ("", ""), Err("password missing")),
        ("scram:wrong", "", ("", ""), Err("password authentication failed")),
        ("scram:scram%20secret", "sslmode=disable", ("", ""), PLAIN),
        ("scram:scram%20secret", "channel_binding=require", ("", ""), TLS),
        ("scram:scram%20secret", "channel_binding=disable", ("", ""), TLS),
        ("scram:scram%20secret", "channel_binding=require&sslmode=disable", ("", ""), Err("channel binding")),
        ("clear:clear%20secret", "", ("", ""), TLS),
        ("clear:clear%20secret", "channel_binding=require", ("", ""), Err("channel binding")),
        ("md5:md5%20secret", "", ("", ""), TLS),
        // The server takes this one without TLS only.
        ("plain", "", ("", ""), PLAIN),
        ("plain", "sslmode=require", ("", ""), Err("no pg_hba.conf entry")),
        ("postgres", "target_session_attrs=read-write", ("", ""), TLS),
        ("postgres", "target_session_attrs=read-only", ("", ""), Err("not read only")),
        (
            "postgres",
            "target_session_attrs=primary&options=-c%20default_transaction_read_only%3Don",
            ("", ""),
            Err("does not allow writes"),
        ),
    ];
    for (who, rest, variable, expected) in cases {
        let server = server(&cluster.url(who, rest), &[variable]);
        expect(&server, expected, &format!("{who} {rest} {variable:?}")).await;
    }

    // Over the socket there is no TLS, whatever is asked for; and hosts are tried in turn.
    let (port, folder) = (cluster.port, cluster.folder.path().display());
    let socket = format!("postgres://scram:scram%20secret@/postgres?host={folder}&port={port}&sslmode=verify-full");
    expect(&server(&socket, &[]), PLAIN, &socket).await;
    let two = format!(
        "postgres://postgres@127.0.0.1:1,{}:{port}/postgres",
        super::url::encoded(folder.to_string().as_bytes())
    );
    expect(&server(&two, &[]), PLAIN, &two).await;
    // Who is refused by one isn't tried at the next.
    let refused = format!("postgres://scram:wrong@localhost:{port},127.0.0.1:1/postgres");
    let error = server(&refused, &[]).connect().await.err().unwrap();
    assert_eq!(error.code(), Some(&SqlState::INVALID_PASSWORD));
    let missing = format!("postgres://postgres@localhost:{port},127.0.0.1:1/nothing");
    let error = server(&missing, &[]).connect().await.err().unwrap();
    assert_eq!(error.code(), Some(&SqlState::INVALID_CATALOG_NAME));

    // A certificate whose signature has no digest binds no password, and is no hindrance either.
    let key = old_form(&KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap());
    let certificate = parameters("localhost").self_signed(&key).unwrap();
    cluster.restart(Some((&certificate, &key)));
    for (binding, expected) in [("prefer", TLS), ("require", Err("channel binding"))] {
        let url = cluster.url("scram:scram%20secret", &format!("channel_binding={binding}"));
        expect(&server(&url, &[]), expected, &url).await;
    }
}

/// The key of Ed25519 in version 1 of PKCS 8, without the public half, as older versions of OpenSSL need it.
fn old_form(key: &KeyPair) -> KeyPair {
    let der = key.serialize_der();
    let private = &[&[0x30, 0x2E, 0x02, 0x01, 0x00], &der[5..48]].concat()[..];
    KeyPair::try_from(private).unwrap()
}
