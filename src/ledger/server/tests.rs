use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation, TargetSessionAttrs};

use super::endpoint::Host;
use super::{Server, ServerError};

/// An environment of these variables alone.
fn env(variables: &[(&str, &str)]) -> impl Fn(&str) -> Option<OsString> {
    let variables: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect();
    move |asked| variables.iter().find(|(name, _)| name == asked).map(|(_, value)| value.clone())
}

fn parse(url: &str, variables: &[(&str, &str)]) -> Result<Server, ServerError> {
    Server::parse(url, &env(variables))
}

fn read(url: &str) -> Server {
    parse(url, &[]).unwrap_or_else(|error| panic!("{url}: {error}"))
}

fn passwords(server: &Server) -> Vec<Option<&str>> {
    let text =
        |endpoint: &'_ super::Endpoint| -> Option<Vec<u8>> { endpoint.password.as_ref().map(|p| p.expose().to_vec()) };
    let all = server.endpoints.iter().map(text);
    all.map(|bytes| bytes.map(|bytes| &*String::from_utf8(bytes).unwrap().leak())).collect()
}

#[test]
fn a_server_is_told_from_a_file() {
    for url in ["postgres://", "postgresql://h/d", "POSTGRES://u:p@h", "PostgreSQL://h"] {
        assert!(Server::is_named(url), "{url}");
    }
    for file in
        ["state/ledger.db", "postgres", "postgres:/", "postgres:x", "./postgres://h", "postgré", "mysql://h", ""]
    {
        assert!(!Server::is_named(file), "{file}");
        assert_eq!(parse(file, &[]).unwrap_err(), ServerError::NoServer);
    }
}

#[test]
fn urls_mean_what_they_mean_to_libpq() {
    let cases = [
        ("postgres://me@db.example.com/ledger", "me@db.example.com:5432/ledger"),
        ("postgresql://me:secret@db:6432/ledger?sslmode=disable", "me@db:6432/ledger"),
        ("postgres://me@db", "me@db:5432/me"),
        ("postgres://me@db/", "me@db:5432/me"),
        ("postgres://me@db:/x", "me@db:5432/x"),
        ("postgres://me@db?dbname=x", "me@db:5432/x"),
        ("postgres://me@db?dbname=x&", "me@db:5432/x"),
        ("postgres://me@db/x?", "me@db:5432/x"),
        ("postgres://me@db/x?dbname=y", "me@db:5432/y"),
        ("postgres://me@[::1]:6432/x", "me@[::1]:6432/x"),
        ("postgres://me@[2001:db8::1]/x", "me@[2001:db8::1]:5432/x"),
        ("postgres://me@a,b/x", "me@a:5432,b:5432/x"),
        ("postgres://me@a:1,b:2,[::1]:3/x", "me@a:1,b:2,[::1]:3/x"),
        ("postgres://me@a:1,b,c:3/x", "me@a:1,b:5432,c:3/x"),
        ("postgres://me@/x?host=a,b&port=7", "me@a:7,b:7/x"),
        ("postgres://me@ignored/x?host=told", "me@told:5432/x"),
        ("postgres:///x?host=a&user=me", "me@a:5432/x"),
        ("postgres://%6De:p%40%2F@h%6Fst/d%20b", "me@host:5432/d%20b"),
        ("postgres://m%40e@h/a%2Fb", "m%40e@h:5432/a%2Fb"),
        ("postgres://me@%2Frun%2Fpg/x", "me@%2Frun%2Fpg:5432/x"),
        ("postgres://me@%2Frun%2Fpg:6432/x", "me@%2Frun%2Fpg:6432/x"),
        ("postgres://me@/x?host=/run/pg", "me@%2Frun%2Fpg:5432/x"),
        ("postgres://me@/x?host=/run/pg,b&port=1,2", "me@%2Frun%2Fpg:1,b:2/x"),
        ("postgres://me@/x?hostaddr=10.1.2.3", "me@10.1.2.3:5432/x"),
        ("postgres://me@db/x?hostaddr=10.1.2.3", "me@db:5432/x"),
        ("postgres://me@db/zo%C3%AB", "me@db:5432/zo%C3%AB"),
    ];
    for (url, expected) in cases {
        let server = read(url);
        assert_eq!(server.to_string(), format!("postgres://{expected}"), "{url}");
        // What is shown names the same server.
        assert_eq!(read(&server.to_string()).to_string(), server.to_string(), "{url}");
    }
    let nobody = read("postgres://db");
    assert_eq!(nobody.user, whoami::username().unwrap());
    assert_eq!(nobody.database, nobody.user);
    let address = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));
    let hosts = |url: &str| read(url).endpoints.into_iter().map(|endpoint| endpoint.host).collect::<Vec<_>>();
    assert_eq!(hosts("postgres://me@db/x?hostaddr=10.1.2.3"), [Host::Tcp("db".to_owned(), Some(address))]);
    assert_eq!(
        hosts("postgres://me@a,b/x?hostaddr=,10.1.2.3"),
        [Host::Tcp("a".to_owned(), None), Host::Tcp("b".to_owned(), Some(address))]
    );
    assert_eq!(hosts("postgres://me@/x?host=/run/pg"), [Host::Socket("/run/pg".into())]);
}

#[test]
fn what_is_no_url_is_told_without_its_text() {
    let cases = [
        ("postgres://me:p@ss@host/db", "@ where none"),
        ("postgres://me:pa/ss@host/db", "@ where none"),
        ("postgres://me:5/s?sslmode=x@host/db", "@ where none"),
        ("postgres://me:100%@host/db", "%"),
        ("postgres://me:%zz@host/db", "%"),
        ("postgres://me@ho%00st/db", "%00"),
        ("postgres://me@[::1/db", "[brackets]"),
        ("postgres://me@[]/db", "[brackets]"),
        ("postgres://me@[::1]5/db", "[brackets]"),
        ("postgres://me@host:port/db", "port in the server's URL"),
        ("postgres://me@host:0/db", "port in the server's URL"),
        ("postgres://me@host:65536/db", "port in the server's URL"),
        ("postgres://me@a:1,b:2,c/db?port=1,2", "port in the server's URL"),
        ("postgres://me@a,b/db?hostaddr=10.0.0.1", "hostaddr in the server's URL"),
        ("postgres://me@a/db?hostaddr=example.com", "hostaddr in the server's URL"),
        ("postgres://me@/db?host=%40abstract", "host in the server's URL"),
        ("postgres://me@host/d%0Ab", "dbname in the server's URL"),
        ("postgres://m%FFe@host/db", "user in the server's URL"),
        ("postgres://me@host/db?sslmode", "parameter 1"),
        ("postgres://me@host/db?sslmode=disable&&port=1", "parameter 2"),
        ("postgres://me@host/db?options=-c a=b", "parameter 1"),
        (
            "postgres://me@host/db?sslmode=disable&sslmod=x",
            "parameter 2 of the server's URL is not known: is sslmode meant?",
        ),
        ("postgres://me@host/db?pool_size=7", "parameter 1 of the server's URL is not known"),
        ("postgres://me@host/db?SSLMODE=disable", "is sslmode meant?"),
        ("postgres://me@host/db?connect_timeout=soon", "connect_timeout in the server's URL"),
        ("postgres://me@host/db?sslmode=on", "verify-full"),
        ("postgres://me@host/db?target_session_attrs=standby", "target_session_attrs"),
        ("postgres://me@host/db?client_encoding=LATIN1", "UTF8"),
    ];
    for (url, expected) in cases {
        let error = parse(url, &[]).expect_err(url);
        assert!(error.to_string().contains(expected), "{url}: {error}");
        assert!(!error.help().is_empty());
    }
}

#[test]
fn what_is_not_supported_says_what_to_do() {
    let parameters = [
        ("sslcert=/c", "client certificates"),
        ("sslkey=/k", "client certificates"),
        ("sslpassword=x", "client certificates"),
        ("service=prod", "service files"),
        ("krbsrvname=x", "Kerberos"),
        ("gsslib=x", "Kerberos"),
        ("require_auth=scram-sha-256", "channel_binding=require"),
        ("requirepeer=postgres", "socket"),
        ("sslcrl=/crl", "revocation"),
        ("sslcrldir=/crls", "revocation"),
        ("replication=database", "replica"),
        ("sslkeylogfile=/k", "leave it out"),
        ("oauth_issuer=x", "OAuth"),
        ("currentSchema=x", "search_path"),
    ];
    for (parameter, advice) in parameters {
        let error = parse(&format!("postgres://me@h/d?{parameter}"), &[]).expect_err(parameter);
        let name = parameter.split('=').next().unwrap();
        assert_eq!(error.to_string(), format!("{name} in the server's URL is not supported"));
        assert!(error.help().contains(advice), "{}", error.help());
    }
    for variable in ["PGSERVICE", "PGREQUIREAUTH", "PGREQUIREPEER", "PGSSLCRL", "PGSSLCRLDIR"] {
        let error = parse("postgres://me@h/d", &[(variable, "x")]).expect_err(variable);
        assert_eq!(error.to_string(), format!("{variable} is not supported"));
    }
    let error = parse("postgres://me@h/d", &[("PGGSSENCMODE", "require")]).unwrap_err();
    assert_eq!(error.help(), "correct the variable, or unset it for this program");
    // What libpq doesn't need either, or what says the default.
    for harmless in
        ["gssencmode=disable", "sslcompression=0", "sslcertmode=disable", "requiressl=0", "client_encoding=UTF8"]
    {
        read(&format!("postgres://me@h/d?{harmless}"));
    }
    parse("postgres://me@h/d", &[("PGSSLCERT", "x"), ("PGSSLKEY", "x"), ("PGCLIENTENCODING", "LATIN1")]).unwrap();
}

#[test]
fn the_environment_says_what_the_url_leaves_open() {
    let all = [
        ("PGHOST", "env-host"),
        ("PGPORT", "7"),
        ("PGUSER", "env-user"),
        ("PGDATABASE", "env-db"),
        ("PGPASSWORD", "env-password"),
        ("PGAPPNAME", "env-name"),
        ("PGCONNECT_TIMEOUT", "3"),
    ];
    let server = parse("postgres://", &all).unwrap();
    assert_eq!(server.to_string(), "postgres://env-user@env-host:7/env-db");
    assert_eq!(passwords(&server), [Some("env-password")]);
    assert_eq!(server.settings.connect_timeout, Some(Duration::from_secs(3)));
    let config = server.config(&server.endpoints[0], None, SslMode::Disable);
    assert_eq!(config.get_application_name(), Some("env-name"));

    let url = "postgres://me:mine@host:5/db?connect_timeout=4&application_name=name";
    let server = parse(url, &all).unwrap();
    assert_eq!(server.to_string(), "postgres://me@host:5/db");
    assert_eq!(passwords(&server), [Some("mine")]);
    assert_eq!(server.settings.connect_timeout, Some(Duration::from_secs(4)));

    let server = parse("postgres://a,b", &[("PGUSER", "me"), ("PGPORT", "1,2")]).unwrap();
    assert_eq!(server.to_string(), "postgres://me@a:1,b:2/me");
    // Empty is as good as unset, on either side.
    let server = parse("postgres://me:@host/?application_name=", &[("PGPORT", ""), ("PGPASSWORD", "env")]).unwrap();
    assert_eq!(server.to_string(), "postgres://me@host:5432/me");
    assert_eq!(passwords(&server), [Some("env")]);
    let error = parse("postgres://me@h", &[("PGPORT", "x")]).unwrap_err();
    assert_eq!(error.to_string(), "PGPORT may not be what it is: it has to be a number from 1 to 65535");
}

#[test]
fn connections_are_watched_and_named() {
    let config = |url: &str| {
        let server = read(url);
        let config = server.config(&server.endpoints[0], None, SslMode::Disable);
        (server, config)
    };
    let (server, usual) = config("postgres://me@h/d");
    assert_eq!(server.settings.connect_timeout, Some(Duration::from_secs(10)));
    assert!(!server.settings.is_shuffled);
    assert_eq!(usual.get_application_name(), Some("didit-sync"));
    assert!(usual.get_keepalives());
    assert_eq!(usual.get_keepalives_idle(), Duration::from_secs(15));
    assert_eq!(usual.get_keepalives_interval(), Some(Duration::from_secs(5)));
    assert_eq!(usual.get_keepalives_retries(), Some(3));
    assert_eq!(usual.get_tcp_user_timeout(), Some(&Duration::from_secs(30)));
    assert_eq!(usual.get_target_session_attrs(), TargetSessionAttrs::Any);
    assert_eq!(usual.get_channel_binding(), ChannelBinding::Prefer);

    let (server, told) = config(
        "postgres://me@h/d?connect_timeout=0&fallback_application_name=x&keepalives=0&keepalives_idle=7\
         &keepalives_interval=8&keepalives_count=9&tcp_user_timeout=1500&target_session_attrs=read-write\
         &channel_binding=require&options=-c%20search_path%3Dx&load_balance_hosts=random",
    );
    assert_eq!(server.settings.connect_timeout, None);
    assert!(server.settings.is_shuffled);
    assert_eq!(told.get_application_name(), Some("x"));
    assert!(!told.get_keepalives());
    assert_eq!(told.get_keepalives_idle(), Duration::from_secs(7));
    assert_eq!(told.get_keepalives_interval(), Some(Duration::from_secs(8)));
    assert_eq!(told.get_keepalives_retries(), Some(9));
    assert_eq!(told.get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
    assert_eq!(told.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    assert_eq!(told.get_channel_binding(), ChannelBinding::Require);
    assert_eq!(told.get_options(), Some("-c search_path=x"));
    let (_, primary) = config("postgres://me@h/d?target_session_attrs=primary&sslmode=require&sslnegotiation=direct");
    assert_eq!(primary.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
    assert_eq!(primary.get_ssl_negotiation(), SslNegotiation::Direct);
}

/// A folder with a file of passwords.
fn home(lines: &str, mode: u32) -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    write(&home.path().join(".pgpass"), lines, mode);
    home
}

fn write(path: &Path, contents: &str, mode: u32) {
    fs::write(path, contents).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn the_password_file_is_read_as_libpq_reads_it() {
    let cases = [
        ("h:5432:d:me:secret", Some("secret")),
        ("h:5432:d:me:secret\r\n", Some("secret")),
        ("# h:5432:d:me:no\n\nother:5432:d:me:no\nh:5432:d:me:first\nh:5432:d:me:second", Some("first")),
        ("*:*:*:*:any", Some("any")),
        ("h:*:d:*:any", Some("any")),
        ("h*:5432:d:me:no", None),
        ("h:5432:d:m:no", None),
        ("h:5432:d:mee:no", None),
        ("h:5433:d:me:no", None),
        ("h:5432:d:me", None),
        ("h:5432:d:me:", None),
        (r"h:5432:d:me:a\:b\\c", Some(r"a:b\c")),
        (r"h:5432:d:me:a:b", Some("a")),
        (r"\h:54\32:d:me:escaped", Some("escaped")),
        ("h:5432:d:me:späte", Some("späte")),
    ];
    for (lines, expected) in cases {
        let home = home(lines, 0o600);
        let server = parse("postgres://me@h/d", &[("HOME", home.path().to_str().unwrap())]).unwrap();
        assert_eq!(passwords(&server), [expected], "{lines}");
    }
    let home = home("h\\:1:5432:d\\\\:m\\:e:secret\n::1:5432:d:me:no\n\\:\\:1:5432:d:me:six", 0o600);
    let variables = [("HOME", home.path().to_str().unwrap())];
    let server = parse("postgres://m%3Ae@h%3A1/d%5C", &variables).unwrap();
    assert_eq!(passwords(&server), [Some("secret")]);
    let server = parse("postgres://me@[::1]/d", &variables).unwrap();
    assert_eq!(passwords(&server), [Some("six")]);
}

#[test]
fn each_host_has_its_password() {
    let lines = "a:5432:d:me:of-a\nb:7:d:me:of-b\n/run/pg:5432:d:me:of-socket\nlocalhost:5432:d:me:of-here\n";
    let home = home(&format!("{lines}10.0.0.1:5432:d:me:of-address"), 0o600);
    let variables = [("HOME", home.path().to_str().unwrap())];
    let url = "postgres://me@a,b:7,c,%2Frun%2Fpg,%2Fvar%2Frun%2Fpostgresql,localhost/d";
    let found = parse(url, &variables).unwrap();
    let expected = [Some("of-a"), Some("of-b"), None, Some("of-socket"), Some("of-here"), Some("of-here")];
    assert_eq!(passwords(&found), expected);
    let found = parse("postgres://me@,a/d?hostaddr=10.0.0.1,10.0.0.2", &variables).unwrap();
    assert_eq!(passwords(&found), [Some("of-address"), Some("of-a")]);
}

#[test]
fn passwords_have_an_order() {
    let home = home("*:*:*:*:of-home", 0o600);
    let file = home.path().join("named");
    write(&file, "*:*:*:*:of-file", 0o400);
    let other = home.path().join("other");
    write(&other, "*:*:*:*:of-other", 0o600);
    let in_home = ("HOME", home.path().to_str().unwrap());
    let named = ("PGPASSFILE", file.to_str().unwrap());
    let given = ("PGPASSWORD", "of-env");
    let one = |url: &str, variables: &[(&str, &str)]| passwords(&parse(url, variables).unwrap())[0].map(str::to_owned);
    assert_eq!(one("postgres://me:of-url@h", &[in_home, named, given]).unwrap(), "of-url");
    assert_eq!(one("postgres://me@h?password=of-url", &[in_home, named, given]).unwrap(), "of-url");
    assert_eq!(one("postgres://me@h", &[in_home, named, given]).unwrap(), "of-env");
    assert_eq!(one("postgres://me@h", &[in_home, named]).unwrap(), "of-file");
    assert_eq!(one(&format!("postgres://me@h?passfile={}", other.display()), &[in_home, named]).unwrap(), "of-other");
    assert_eq!(one("postgres://me@h", &[in_home]).unwrap(), "of-home");
    assert_eq!(one("postgres://me@h", &[]), None);
    assert_eq!(one("postgres://me@h", &[("PGPASSFILE", "/nowhere")]), None);
    assert_eq!(one("postgres://me@h", &[("PGPASSFILE", "/dev/null")]), None);
}

#[test]
fn promise_5_a_password_file_that_others_may_use_is_left_alone() {
    for mode in [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666] {
        let home = home("*:*:*:*:secret", mode);
        let server = parse("postgres://me@h", &[("HOME", home.path().to_str().unwrap())]).unwrap();
        assert_eq!(passwords(&server), [None], "{mode:o}");
    }
}

#[test]
fn the_mode_decides_what_is_verified() {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let root = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    let good = folder.path().join("root.crt");
    write(&good, &root.pem(), 0o644);
    let empty = folder.path().join("empty.crt");
    write(&empty, "nothing\n", 0o644);
    let (good, empty) = (good.to_str().unwrap(), empty.to_str().unwrap());
    let cases: [(&str, &str, Result<&str, &str>); 22] = [
        ("", "", Ok("Preferred")),
        ("disable", "", Ok("Off")),
        ("allow", "", Ok("Preferred")),
        ("prefer", "", Ok("Preferred")),
        ("require", "", Ok("Required")),
        ("verify-ca", "", Err("sslmode=verify-ca proves nothing")),
        ("verify-full", "", Ok("Required")),
        ("disable", good, Ok("Off")),
        ("prefer", good, Ok("Preferred")),
        ("require", good, Ok("Required")),
        ("verify-ca", good, Ok("Required")),
        ("verify-full", good, Ok("Required")),
        ("disable", "/nowhere", Ok("Off")),
        ("prefer", "/nowhere", Err("the certificates in /nowhere can't be used")),
        ("require", "/nowhere", Err("the certificates in /nowhere can't be used")),
        ("verify-full", empty, Err("holds no certificate")),
        ("", "system", Ok("Required")),
        ("disable", "system", Err("sslmode=disable proves nothing")),
        ("require", "system", Err("sslmode=require proves nothing")),
        ("verify-ca", "system", Err("sslmode=verify-ca proves nothing")),
        ("verify-full", "system", Ok("Required")),
        ("Require", "", Err("sslmode in the server's URL")),
    ];
    for (mode, roots, expected) in cases {
        let url = format!("postgres://me@h/d?sslmode={mode}&sslrootcert={roots}");
        let found = parse(&url, &[]).map(|server| format!("{:?}", server.encryption)).map_err(|e| e.to_string());
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{url}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{url}: {found}"),
            _ => panic!("{url}: {found:?}"),
        }
        let variables = [("PGSSLMODE", mode), ("PGSSLROOTCERT", roots)];
        let by_environment = parse("postgres://me@h/d", &variables).map(|server| format!("{:?}", server.encryption));
        assert_eq!(by_environment.ok(), found.ok(), "{url}");
    }
    // No TLS on sockets, whatever is asked for.
    let socket = parse("postgres://me@/d?host=/run/pg&sslmode=verify-full", &[]).unwrap();
    assert_eq!(format!("{:?}", socket.encryption), "Off");
    assert_eq!(format!("{:?}", read("postgres://me@h/d?ssl=true").encryption), "Required");
    assert_eq!(parse("postgres://me@h/d?sslnegotiation=direct", &[]).unwrap_err(), ServerError::WeakDirect);
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_is_not_waited_for() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://me@127.0.0.1:{}/d", silent.local_addr().unwrap().port());
    let begun = tokio::time::Instant::now();
    let error = read(&url).connect().await.err().unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(10) && begun.elapsed() < Duration::from_secs(11));
    let cause = std::error::Error::source(&error).unwrap().downcast_ref::<std::io::Error>().unwrap();
    assert_eq!(cause.kind(), std::io::ErrorKind::TimedOut, "{cause}");
}

#[tokio::test]
async fn a_host_that_is_not_there_is_named() {
    let error = read("postgres://me@nowhere.invalid/d").connect().await.err().unwrap();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.starts_with("nowhere.invalid:5432: "), "{cause}");
}

/// Words that are found again, with what has a meaning in URLs between them.
fn secret() -> impl Strategy<Value = String> {
    let between = r"[@/?#:&=,%+ \[\]\\;'a-z0-9]{0,4}";
    let known = prop::sample::select(vec!["", "?sslmode=", "&host=", "?dbname=", "/", "@", ":5432/", "?options="]);
    (between, known, between).prop_map(|(first, known, last)| format!("XyzzyA{first}XyzzyB{known}XyzzyC{last}XyzzyD"))
}

proptest! {
    #[test]
    fn promise_5_no_password_is_shown(secret in secret(), form in 0..6, sslmode in prop::sample::select(vec!["", "?sslmode=bad", "?sslmode=disable"])) {
        let encoded = super::url::encoded(secret.as_bytes());
        let (url, variable) = match form {
            0 => (format!("postgres://me:{encoded}@host/db{sslmode}"), None),
            1 => (format!("postgres://me:{secret}@host/db{sslmode}"), None),
            2 => (format!("postgres://me@host/db?password={encoded}"), None),
            3 => (format!("postgres://me@host/db{sslmode}"), Some(secret.as_str())),
            4 => (format!("postgres://me:{secret}@[host/db{sslmode}"), None),
            _ => (format!("postgres://:{secret}@host:port{sslmode}"), None),
        };
        let variables: Vec<_> = variable.map(|secret| ("PGPASSWORD", secret)).into_iter().collect();
        let shown = match parse(&url, &variables) {
            Ok(server) => {
                if matches!(form, 0 | 2 | 3) {
                    prop_assert_eq!(passwords(&server), [Some(secret.as_str())]);
                }
                format!("{server} {server:?} {server:#?} {:?}", server.config(&server.endpoints[0], None, SslMode::Prefer))
            }
            Err(error) => format!("{error} {error:?} {}", error.help()),
        };
        prop_assert!(!shown.contains("Xyzzy"), "{}", shown);
    }

    #[test]
    fn any_text_is_an_error_or_a_server(text in r"postgres(ql)?://[ -~é]{0,40}") {
        if let Ok(server) = parse(&text, &[]) {
            let shown = server.to_string();
            prop_assert_eq!(read(&shown).to_string(), shown);
        }
    }
}
