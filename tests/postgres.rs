//! The PostgreSQL that tests run for themselves, and the line that they cut.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use postgres::{Client, NoTls};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use crate::support::cut::{Cut, Moment};
use crate::support::ledger::{Sql, is_postgres};
use crate::support::postgres::{Cluster, DURABLE, Database, PASSWORD, cluster};
use crate::support::program::contains;
use crate::support::{Scene, sandbox, wait_for};
use rusqlite::types::Value as Cell;

fn open(url: &str) -> Result<Client, postgres::Error> {
    Client::connect(url, NoTls)
}

fn count(client: &mut Client) -> i64 {
    client.query_one("SELECT count(*) FROM t", &[]).unwrap().get(0)
}

/// A database with an empty table.
fn with_table(cluster: &Cluster) -> Database<'_> {
    let database = cluster.database();
    open(&database.url()).unwrap().batch_execute("CREATE TABLE t (x bigint)").unwrap();
    database
}

#[test]
fn databases_are_apart_and_go_away() {
    let Some(cluster) = cluster() else { return };
    let (one, other) = (with_table(cluster), cluster.database());
    assert!(open(&other.url()).unwrap().query("SELECT * FROM t", &[]).is_err());
    let mut held = one.connect();
    assert_eq!(count(&mut held), 0);
    assert_eq!(one.sessions(), 1);
    let is_super: bool =
        held.query_one("SELECT rolsuper FROM pg_roles WHERE rolname = current_user", &[]).unwrap().get(0);
    assert!(!is_super);
    let (name, url) = (one.name().to_owned(), one.url());
    drop(one);
    assert!(open(&url).is_err(), "{name} is still there");
    let mut keyed = open(&other.url_by_socket()).unwrap();
    assert_eq!(keyed.query_one("SELECT 1", &[]).unwrap().get::<_, i32>(0), 1);
    other.end_sessions();
    assert!(keyed.query_one("SELECT 1", &[]).is_err());
}

#[test]
fn a_copy_has_what_was_there() {
    let Some(cluster) = cluster() else { return };
    let database = with_table(cluster);
    let copy = database.copy();
    copy.connect().batch_execute("INSERT INTO t VALUES (1)").unwrap();
    assert_eq!((count(&mut database.connect()), count(&mut copy.connect())), (0, 1));
}

#[test]
fn a_role_with_a_password_needs_it() {
    let Some(cluster) = cluster() else { return };
    let database = cluster.database();
    assert!(open(&database.url_for_keyed()).is_err());
    let mut config: postgres::Config = database.url_for_keyed().parse().unwrap();
    assert!(config.password("another").connect(NoTls).is_err());
    // It may do what the owner of the database may.
    config.password(PASSWORD).connect(NoTls).unwrap().batch_execute("CREATE TABLE t ()").unwrap();
}

#[test]
fn a_server_that_talks_tls_has_an_authority() {
    let Some(own) = Cluster::with_tls() else { return };
    let mut line = TcpStream::connect(("127.0.0.1", own.port)).unwrap();
    line.write_all(&[0, 0, 0, 8, 4, 210, 22, 47]).unwrap();
    let mut answer = [0];
    line.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"S");
    assert!(fs::read_to_string(own.authority()).unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    // Who asks for none gets on without.
    assert_eq!(open(&own.database().url()).unwrap().query_one("SELECT 1", &[]).unwrap().get::<_, i32>(0), 1);
}

#[test]
fn a_file_and_a_server_are_asked_alike() {
    let Some(cluster) = cluster() else { return };
    let database = cluster.database();
    let file = Sql::File(rusqlite::Connection::open_in_memory().unwrap());
    for mut ledger in [file, Sql::Server(Box::new(database.connect()))] {
        let blob = if matches!(ledger, Sql::File(_)) { "BLOB" } else { "BYTEA" };
        ledger.execute(
            &format!("CREATE TABLE t (id BIGINT PRIMARY KEY, name TEXT, hash {blob}, at DOUBLE PRECISION)"),
            &[],
        );
        let insert = "INSERT INTO t (id, name) VALUES (1, $1), (2, $2), (3, NULL)";
        assert_eq!(ledger.execute(insert, &["one", "two"]), 3);
        assert_eq!(ledger.execute("UPDATE t SET at = 0.5 WHERE name = $1 OR $1 = 'x'", &["one"]), 1);
        assert_eq!(ledger.value::<i64>("SELECT count(*) FROM t WHERE name IS NULL", &[]), 1);
        let names = ledger.rows("SELECT id, name FROM t ORDER BY id DESC", &[]);
        let names: Vec<(i64, Option<String>)> = names.iter().map(|row| (row.get(0), row.get(1))).collect();
        assert_eq!(names, [(3, None), (2, Some("two".to_owned())), (1, Some("one".to_owned()))]);
        let table = ledger.table("t");
        assert_eq!(table.len(), 3);
        let cells = [
            ("at", Cell::Real(0.5)),
            ("hash", Cell::Null),
            ("id", Cell::Integer(1)),
            ("name", Cell::Text("one".to_owned())),
        ];
        assert!(table[0].iter().map(|(name, cell)| (name.as_str(), cell.clone())).eq(cells), "{table:?}");
        ledger.execute("CREATE TABLE u (x BIGINT)", &[]);
        ledger.refuse_inserts_into("t");
        ledger.refuse_inserts_into("u");
        assert_eq!(ledger.execute("INSERT INTO t (id) VALUES (4)", &[]), 1);
        let refused =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| ledger.execute("INSERT INTO u VALUES (1)", &[])));
        assert!(refused.is_err());
    }
    // What stands in its tables is seen as what stands in a file.
    let mut ledger = database.connect();
    ledger
        .batch_execute(
            r"ALTER TABLE t ADD seen TIMESTAMPTZ; UPDATE t SET hash = '\x0041424300', seen = now() WHERE id = 2",
        )
        .unwrap();
    let tables = Sql::Server(Box::new(ledger)).tables();
    assert_eq!(tables.keys().collect::<Vec<_>>(), ["public.t", "public.u"]);
    let bytes = &tables["public.t"];
    assert!(contains(bytes, "\0ABC\0") && contains(bytes, "two") && tables["public.u"].is_empty(), "{bytes:?}");
}

#[test]
fn references_can_be_left_hanging() {
    let Some(cluster) = cluster() else { return };
    let database = with_table(cluster);
    let tables = "ALTER TABLE t ADD PRIMARY KEY (x); CREATE TABLE u (x bigint REFERENCES t); INSERT INTO t VALUES (1); INSERT INTO u VALUES (1)";
    database.connect().batch_execute(tables).unwrap();
    assert!(database.connect().batch_execute("DELETE FROM t").is_err());
    database.connect_without_references().batch_execute("DELETE FROM t").unwrap();
}

#[test]
fn what_was_committed_outlives_the_server() {
    let Some(own) = Cluster::own(DURABLE) else { return };
    let fsync: String = own.admin().query_one("SHOW fsync", &[]).unwrap().get(0);
    assert_eq!(fsync, "on");
    let database = with_table(&own);
    let mut client = database.connect();
    client.batch_execute("INSERT INTO t VALUES (1)").unwrap();
    own.stop_immediately();
    assert!(client.batch_execute("INSERT INTO t VALUES (2)").is_err());
    assert!(open(&database.url()).is_err());
    own.start();
    assert!(own.log().contains("was not properly shut down"), "{}", own.log());
    let mut client = database.connect();
    client.batch_execute("INSERT INTO t VALUES (3)").unwrap();
    own.restart();
    assert_eq!(count(&mut database.connect()), 2);
}

/// Where every ledger is to be on a server: a program that takes the URL for a path would do well in many tests.
#[test]
fn a_ledger_on_a_server_is_no_file() {
    if !is_postgres() {
        return;
    }
    let scene = Scene::new(sandbox(2));
    scene.write_all();
    scene.apply().exits(0);
    assert_eq!(scene.sql().value::<i64>("SELECT count(*) FROM entries WHERE state = 'imported'", &[]), 2);
    let names = fs::read_dir(scene.path("")).unwrap().map(|it| it.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["m.yaml"]);
}

/// The server's process.
fn pid_of(cluster: &Cluster) -> Pid {
    let text = fs::read_to_string(cluster.folder().join("data/postmaster.pid")).unwrap();
    Pid::from_raw(text.lines().next().unwrap().parse().unwrap()).unwrap()
}

#[test]
fn a_cluster_ends_with_its_test() {
    let Some(own) = Cluster::own(&[]) else { return };
    let (pid, folder) = (pid_of(&own), own.folder().to_owned());
    drop(own);
    assert!(test_kill_process(pid).is_err() && !folder.exists(), "{}", folder.display());
}

/// For [`a_cluster_ends_with_a_process_that_is_killed`]: makes a cluster, says where, and stays.
#[test]
#[ignore = "another test runs and kills it"]
fn a_process_with_a_cluster() {
    let (Some(own), Some(place)) = (Cluster::own(&[]), std::env::var_os("DIDIT_SYNC_TEST_PLACE")) else { return };
    let told = format!("{} {}", pid_of(&own).as_raw_nonzero(), own.folder().display());
    fs::write(&place, told).unwrap();
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn a_cluster_ends_with_a_process_that_is_killed() {
    if cluster().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("place");
    let mut test = Command::new(std::env::current_exe().unwrap());
    test.args(["--exact", "--ignored", "postgres::a_process_with_a_cluster"]).env("DIDIT_SYNC_TEST_PLACE", &place);
    let mut test = test.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let told = || {
        fs::read_to_string(&place)
            .ok()
            .and_then(|told| Some(told.split_once(' ')?).map(|it| (it.0.to_owned(), it.1.to_owned())))
    };
    wait_for("the cluster", || told().is_some_and(|told| !told.1.is_empty()));
    let (pid, cluster) = told().unwrap();
    let pid = Pid::from_raw(pid.parse().unwrap()).unwrap();
    test_kill_process(pid).unwrap();
    kill_process(Pid::from_child(&test), Signal::KILL).unwrap();
    test.wait().unwrap();
    wait_for("the server's end", || test_kill_process(pid).is_err());
    wait_for("the folder's end", || !fs::exists(&cluster).unwrap());
}

#[test]
fn a_line_can_be_cut_refused_and_silent() {
    let Some(cluster) = cluster() else { return };
    let database = with_table(cluster);
    let cut = Cut::new(cluster.port);
    let url = database.url_at(cut.port);
    let mut client = open(&url).unwrap();
    client.batch_execute("BEGIN; INSERT INTO t VALUES (1)").unwrap();
    cut.now();
    assert!(client.batch_execute("COMMIT").is_err());
    assert_eq!(count(&mut open(&url).unwrap()), 0);
    cut.refuse(true);
    wait_for("a refusal", || TcpStream::connect(("127.0.0.1", cut.port)).is_err());
    assert!(open(&url).is_err());
    cut.refuse(false);
    wait_for("a connection", || open(&url).is_ok());
    let mut client = open(&url).unwrap();
    cut.silence(true);
    let (began, silent) = (Instant::now(), Duration::from_millis(300));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(silent);
            cut.silence(false);
        });
        client.batch_execute("INSERT INTO t VALUES (1)").unwrap();
    });
    assert!(began.elapsed() >= silent);
    assert_eq!(count(&mut database.connect()), 1);
}

#[test]
fn a_line_is_cut_at_the_commit_that_was_named() {
    let Some(cluster) = cluster() else { return };
    for (moment, is_told, is_done) in
        [(Moment::Asked, false, false), (Moment::Done, false, true), (Moment::Told, true, true)]
    {
        let database = with_table(cluster);
        let cut = Cut::new(cluster.port);
        let mut client = open(&database.url_at(cut.port)).unwrap();
        cut.at(moment, 1);
        let mut commit = |n: i64| {
            let mut all = client.transaction().unwrap();
            all.execute("INSERT INTO t VALUES ($1)", &[&n]).unwrap();
            all.commit()
        };
        commit(1).unwrap();
        assert_eq!((cut.commits(), cut.cuts()), (1, 0));
        assert_eq!(commit(2).is_ok(), is_told, "{moment:?}");
        assert!(client.batch_execute("SELECT 1").is_err(), "{moment:?}");
        assert_eq!(cut.cuts(), 1, "{moment:?}");
        // Whoever was cut off goes on where it was, and then ends.
        wait_for("the session's end", || database.sessions() == 0);
        assert_eq!(count(&mut database.connect()) == 2, is_done, "{moment:?}");
        // Nothing more is cut.
        let mut client = open(&database.url_at(cut.port)).unwrap();
        client.batch_execute("BEGIN").unwrap();
        client.batch_execute("COMMIT").unwrap();
        assert_eq!(cut.cuts(), 1);
    }
}
