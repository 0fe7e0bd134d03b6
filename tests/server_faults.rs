//! What a ledger's server may do in the middle of a run: restart, be cut off, be silent, refuse, be full, be read-only, and
//! stay away. Whatever it does, no session is lost and none is made twice; each run is compared with what the API's server
//! really has.
//!
//! They need a PostgreSQL, and are left out where there is none. The long forms, which print their figures:
//!
//! ```text
//! cargo test --test main server_faults:: -- --ignored --nocapture
//! ```

#![expect(clippy::print_stdout, reason = "a campaign prints its figures")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::crash::{Round, Tally, scene, seed, with_faults};
use crate::support::cut::{Cut, Moment};
use crate::support::postgres::{Cluster, DURABLE, Database, cluster};
use crate::support::{Output, Scene, wait_for};

/// Answers take a moment, so that some are under way whenever something happens.
const SLOW: &str = "import.latency=10ms..30ms";

/// What is under way when the server goes away has been answered after this.
const ANSWERED: Duration = Duration::from_millis(500);

fn writes_at_least(scene: &Scene, writes: u64) {
    wait_for("requests", || scene.writes() >= writes);
}

/// Asserts that nothing is sent for so long.
#[track_caller]
fn assert_silent(scene: &Scene, time: Duration) {
    sleep(ANSWERED);
    let sent = scene.writes();
    sleep(time);
    assert_eq!(scene.writes(), sent, "sent while no intent could be made durable");
}

/// Asserts that a run by itself came to a good end, and that what it wrote was carried out once.
fn assert_all_well(round: &Round<'_>, database: &Database<'_>, entries: usize, children: Vec<Child>) -> String {
    let outputs: Vec<Output> = children.into_iter().map(Output::of).collect();
    let mut tally = Tally::default();
    for output in &outputs {
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    round.compare_settled(&mut tally, outputs.first().unwrap());
    tally.assert_promises_kept();
    assert_written_once(database, entries as i64);
    assert_eq!(done(database), entries as i64, "each entry was done by one run");
    tally.figures()
}

/// Asserts that nothing is lost though a runner that got nothing through for half a minute may have been taken for dead.
fn assert_well_in_the_end(round: &Round<'_>, scene: &Scene, children: Vec<Child>) -> String {
    let mut dead = 0;
    for output in children.into_iter().map(Output::of) {
        let is_dead = output.code == Some(12) && output.stdout.contains("took it for dead");
        assert!(output.code == Some(0) || is_dead, "{output:?}");
        dead += usize::from(is_dead);
    }
    let mut tally = Tally::default();
    round.compare_settled(&mut tally, &Output::of(round.start(&[])));
    tally.assert_promises_kept();
    let waiting = std::fs::read_dir(scene.path(".local/state/didit-sync")).map_or(0, Iterator::count);
    assert_eq!(waiting, 0, "the last run records what waits");
    format!("{dead} taken for dead; {}", tally.figures())
}

/// How many entries runs say that they have done.
fn done(database: &Database<'_>) -> i64 {
    let sql = "SELECT count(*) FROM run_outcomes WHERE outcome IN ('imported', 'recovered')";
    database.connect().query_one(sql, &[]).unwrap().get(0)
}

fn assert_written_once(database: &Database<'_>, entries: i64) {
    let mut sql = database.connect();
    let mut count = |what: &str| -> i64 { sql.query_one(&format!("SELECT count(*) {what}"), &[]).unwrap().get(0) };
    assert_eq!(count("FROM entries"), entries, "an entry has one row");
    let nothing = [
        "FROM (SELECT 1 FROM attempts GROUP BY entry HAVING max(number) <> count(*) OR min(number) <> 1
           OR count(DISTINCT number) <> count(*)) t",
        "FROM entries e WHERE attempts <> (SELECT count(*) FROM attempts a WHERE a.entry = e.id)",
        "FROM attempts a LEFT JOIN answers w ON w.attempt = a.id WHERE w.attempt IS NULL",
        "FROM run_outcomes o JOIN entries e ON e.id = o.entry WHERE o.session_id IS DISTINCT FROM e.session_id",
        "FROM runs r LEFT JOIN run_ends d ON d.run = r.id WHERE d.run IS NULL",
        "FROM (SELECT 1 FROM evidence GROUP BY entry, verdict, at HAVING count(*) > 1) t",
        "FROM claims",
        "FROM runners",
    ];
    for what in nothing {
        assert_eq!(count(what), 0, "{what}");
    }
}

#[test]
fn promise_1_a_run_goes_on_when_the_ledgers_server_has_crashed_and_restarted() {
    let Some(server) = Cluster::own(DURABLE) else { return };
    let database = server.database();
    let scene = scene(with_faults(SLOW));
    let round = Round::new(&scene, "restart", 120, 0, ", concurrency: 4").with_ledger(database.url());
    let child = round.start(&[]);
    for (writes, away) in [(20, 1000), (60, 2000)] {
        writes_at_least(&scene, writes);
        server.stop_immediately();
        assert_silent(&scene, Duration::from_millis(away));
        server.start();
    }
    assert_all_well(&round, &database, 120, vec![child]);
}

/// Cuts the line at commits of a run until it ends; how often it did.
fn cut_at_commits(cut: &Cut, dice: &mut StdRng, children: &mut [Child], most: u32) {
    while cut.cuts() < most {
        let moment = [Moment::Asked, Moment::Done, Moment::Told][dice.random_range(0..3)];
        let before = cut.cuts();
        cut.at(moment, dice.random_range(0..5));
        while cut.cuts() == before {
            if children.iter_mut().all(|child| child.try_wait().unwrap().is_some()) {
                return;
            }
            sleep(Duration::from_millis(1));
        }
    }
}

/// Runners on one line that is cut at their commits.
fn cuts(server: &Cluster, entries: usize, runners: usize, most: u32, seed: u64) -> u32 {
    println!("cuts, {runners} runners: DIDIT_SYNC_TEST_SEED={seed}");
    let (database, cut) = (server.database(), Cut::new(server.port));
    let scene = scene(with_faults(SLOW));
    let round = Round::new(&scene, "cuts", entries, 0, ", concurrency: 4").with_ledger(database.url_at(cut.port));
    let mut children: Vec<Child> = (0..runners).map(|_| round.start(&[])).collect();
    writes_at_least(&scene, 4);
    cut_at_commits(&cut, &mut StdRng::seed_from_u64(seed), &mut children, most);
    let figures = if runners == 1 {
        assert_all_well(&round, &database, entries, children)
    } else {
        assert_well_in_the_end(&round, &scene, children)
    };
    println!("cuts, {runners} runners: {} cuts; {figures}", cut.cuts());
    cut.cuts()
}

#[test]
fn promise_1_a_line_cut_before_and_after_commits_has_nothing_written_twice() {
    let Some(server) = cluster() else { return };
    assert!(cuts(server, 120, 1, 20, seed()) >= 5);
}

#[test]
#[ignore = "takes minutes: cargo test --test main server_faults:: -- --ignored --nocapture"]
fn promise_1_hundreds_of_cuts_have_nothing_written_twice() {
    let Some(server) = cluster() else { return };
    assert!(cuts(server, 3000, 1, 400, seed()) >= 200);
    assert!(cuts(server, 3000, 3, 400, seed()) >= 200);
}

#[test]
fn promise_1_runners_wait_for_a_server_that_is_silent_and_for_one_that_takes_over() {
    let Some(server) = cluster() else { return };
    let (database, cut) = (server.database(), Cut::new(server.port));
    let scene = scene(with_faults(SLOW));
    let round = Round::new(&scene, "away", 200, 0, ", concurrency: 3").with_ledger(database.url_at(cut.port));
    let mut children: Vec<Child> = (0..3).map(|_| round.start(&[])).collect();
    writes_at_least(&scene, 30);
    cut.silence(true);
    assert_silent(&scene, Duration::from_secs(3));
    cut.silence(false);
    writes_at_least(&scene, scene.writes() + 20);
    cut.refuse(true);
    cut.now();
    assert_silent(&scene, Duration::from_secs(3));
    cut.refuse(false);
    let mut dice = StdRng::seed_from_u64(seed());
    cut_at_commits(&cut, &mut dice, &mut children, 10);
    println!("silence, failover and {} cuts: {}", cut.cuts(), assert_all_well(&round, &database, 200, children));
}

#[test]
#[ignore = "takes a minute: cargo test --test main server_faults:: -- --ignored --nocapture"]
fn promise_4_a_runner_that_was_cut_off_and_taken_for_dead_ends() {
    let Some(server) = cluster() else { return };
    let (database, cut) = (server.database(), Cut::new(server.port));
    let scene = scene(with_faults("import.latency=5ms..10ms"));
    let entries = 1500;
    let cut_off = Round::new(&scene, "cutoff", entries, 0, ", concurrency: 16").with_ledger(database.url_at(cut.port));
    let first = cut_off.start(&[]);
    writes_at_least(&scene, 10);
    cut.refuse(true);
    cut.now();
    // The other is on the machine, too; so it finds the connection gone, and the process alive.
    let round = cut_off.with_ledger(database.url());
    let second = round.start(&[]);
    sleep(Duration::from_secs(45));
    cut.refuse(false);
    let [first, second] = [first, second].map(Output::of);
    assert!(first.exits(12).stdout.contains("took it for dead"));
    let mut tally = Tally::default();
    round.compare_settled(&mut tally, &second);
    tally.assert_promises_kept();
    // Only what was under way at the cut, which the second took over as open, was sent again, and refused.
    let again = scene.writes() - entries as u64;
    assert!(again <= 32, "{again} requests again");
    // What the first had to tell stands already.
    Output::of(round.start(&[])).exits(0);
    let figures = tally.figures();
    println!("cut off: {figures}");
}

#[test]
fn promise_1_a_run_goes_on_when_an_administrator_ends_its_sessions() {
    let Some(server) = cluster() else { return };
    let database = server.database();
    let scene = scene(with_faults(SLOW));
    let round = Round::new(&scene, "ended", 100, 0, ", concurrency: 4").with_ledger(database.url());
    let mut child = round.start(&[]);
    writes_at_least(&scene, 4);
    let mut ended = 0;
    while ended < 10 && child.try_wait().unwrap().is_none() {
        database.end_sessions();
        ended += 1;
        sleep(Duration::from_millis(90));
    }
    assert!(ended >= 3);
    assert_all_well(&round, &database, 100, vec![child]);
}

#[test]
fn promise_1_a_run_waits_for_a_lock_that_somebody_else_has() {
    let Some(server) = cluster() else { return };
    let database = server.database();
    let scene = scene(with_faults(SLOW));
    let round = Round::new(&scene, "blocked", 60, 0, ", concurrency: 4").with_ledger(database.url());
    let child = round.start(&[]);
    writes_at_least(&scene, 15);
    let mut other = database.connect();
    let mut blocking = other.transaction().unwrap();
    blocking.batch_execute("LOCK TABLE attempts IN ACCESS EXCLUSIVE MODE").unwrap();
    assert_silent(&scene, Duration::from_secs(2));
    blocking.rollback().unwrap();
    assert_all_well(&round, &database, 60, vec![child]);
}

/// What a transaction may be told that another one would not be.
const PASSING: [&str; 7] = ["40001", "40P01", "55P03", "57014", "53100", "53200", "58030"];

#[test]
fn promise_1_transactions_that_are_broken_off_are_carried_out_again() {
    let Some(server) = cluster() else { return };
    let database = server.database();
    let scene = scene(with_faults(SLOW));
    let round = Round::new(&scene, "again", 150, 0, ", concurrency: 4").with_ledger(database.url());
    let child = round.start(&[]);
    writes_at_least(&scene, 5);
    let codes = PASSING.map(|code| format!("'{code}'")).join(", ");
    // Each table of a transaction may be the one at which it breaks off. A sequence counts also what is rolled back.
    let making = format!(
        "CREATE SEQUENCE breaks;
         CREATE FUNCTION break_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF random() < 0.04 THEN
             RAISE EXCEPTION 'broken off' USING ERRCODE = (ARRAY[{codes}])[1 + nextval('breaks') % {}];
           END IF;
           RETURN NEW; END $$;",
        PASSING.len()
    );
    let mut sql = database.connect();
    sql.batch_execute(&making).unwrap();
    // One at a time: who holds one table and waits for another can be in a run's way, and it in theirs.
    for table in ["entries", "attempts", "answers", "runners", "run_ends"] {
        let made = format!(
            "CREATE TRIGGER break_off BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION break_off()"
        );
        sql.batch_execute(&made).unwrap();
    }
    let output = Output::of(child).exits(0);
    let breaks: i64 = sql.query_one("SELECT last_value FROM breaks", &[]).unwrap().get(0);
    sql.batch_execute("DROP FUNCTION break_off CASCADE").unwrap();
    let mut tally = Tally::default();
    round.compare_settled(&mut tally, &output);
    tally.assert_promises_kept();
    assert_written_once(&database, 150);
    println!("{breaks} transactions broken off; {}", tally.figures());
    assert!(breaks > 10, "{breaks}");
}

#[test]
fn promise_8_a_database_that_is_read_only_is_refused_at_once() {
    let Some(server) = cluster() else { return };
    let database = server.database();
    let scene = scene(with_faults(""));
    let round = Round::new(&scene, "read", 3, 0, "").with_ledger(database.url());
    let mut admin = server.admin();
    let mut turn = |how: &str| {
        admin.batch_execute(&format!("ALTER DATABASE {} {how}", database.name())).unwrap();
    };
    // Before there is a ledger.
    turn("SET default_transaction_read_only = on");
    let output = Output::of(round.start(&[])).exits(12);
    assert!(output.stdout.contains("its transactions are read-only"), "{}", output.stdout);
    assert_eq!(scene.writes(), 0);
    turn("RESET default_transaction_read_only");
    let child = round.start(&[]);
    assert_all_well(&round, &database, 3, vec![child]);
    let before = scene.writes();
    turn("SET default_transaction_read_only = on");
    Output::of(round.start(&[])).exits(12);
    assert_eq!(scene.writes(), before);
    // What only reads still can.
    scene.run(&["status", "--json", "--ledger", &database.url()]).exits(0);
}

#[test]
fn promise_1_a_run_waits_for_a_database_that_has_become_read_only() {
    let Some(server) = cluster() else { return };
    let database = server.database();
    let scene = scene(with_faults(SLOW));
    let round = Round::new(&scene, "became", 80, 0, ", concurrency: 4").with_ledger(database.url());
    let child = round.start(&[]);
    writes_at_least(&scene, 20);
    let mut admin = server.admin();
    let set = format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name());
    admin.batch_execute(&set).unwrap();
    database.end_sessions();
    assert_silent(&scene, Duration::from_secs(2));
    admin.batch_execute(&format!("ALTER DATABASE {} RESET default_transaction_read_only", database.name())).unwrap();
    assert_all_well(&round, &database, 80, vec![child]);
}

#[test]
fn promise_1_a_standby_is_refused_at_once_and_waited_for_until_it_takes_over() {
    let Some(server) = Cluster::own(DURABLE) else { return };
    let database = server.database();
    let scene = scene(with_faults(SLOW));
    let round = Round::new(&scene, "standby", 80, 0, ", concurrency: 4").with_ledger(database.url());
    let child = round.start(&[]);
    writes_at_least(&scene, 20);
    server.stop_immediately();
    std::fs::write(server.folder().join("data/standby.signal"), "").unwrap();
    server.start();
    assert_silent(&scene, Duration::from_secs(1));
    let other = Output::of(round.start(&[])).exits(12);
    assert!(other.stdout.contains("this server is a standby"), "{}", other.stdout);
    server.admin().execute("SELECT pg_promote()", &[]).unwrap();
    assert_all_well(&round, &database, 80, vec![child]);
}

/// A file system in memory for the rows of a database, gone with it.
struct Small(PathBuf);

impl Small {
    /// `None`, said, where the machine does not let us mount one.
    fn new(server: &Cluster) -> Option<Self> {
        let folder = server.folder().join("small");
        std::fs::create_dir(&folder).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=32m,mode=0777", "tmpfs"]).arg(&folder).stderr(Stdio::null());
        let small = Self(folder);
        if mount.status().is_ok_and(|ended| ended.success()) {
            return Some(small);
        }
        // Past the test's capture, so that it is seen.
        let _ = std::io::stderr().write_all(b"left out: a full disk of a server needs the right to mount one\n");
        None
    }

    /// Leaves no room.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("filler")).unwrap();
        for size in [1 << 16, 1 << 12] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("filler")).unwrap();
    }

    /// A database on it.
    fn url(server: &Cluster) -> String {
        let mut admin = server.admin();
        let place = server.folder().join("small");
        let own = format!("COPY (SELECT 1) TO PROGRAM 'mkdir -m 0700 {0}/rows'", place.display());
        admin.batch_execute(&own).unwrap();
        admin.batch_execute(&format!("CREATE TABLESPACE small LOCATION '{}/rows'", place.display())).unwrap();
        admin.batch_execute("CREATE DATABASE small OWNER didit TABLESPACE small").unwrap();
        format!("postgres://didit@127.0.0.1:{}/small", server.port)
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).stderr(Stdio::null()).status();
    }
}

#[test]
fn promise_8_a_server_whose_disk_is_full_loses_nothing() {
    let Some(server) = Cluster::own(DURABLE) else { return };
    let Some(small) = Small::new(&server) else { return };
    let url = Small::url(&server);
    let scene = scene(with_faults(SLOW));
    let round = Round::new(&scene, "full", 600, 0, ", concurrency: 4").with_ledger(url);
    // One run whose wait is over, and one that waits long enough.
    let child = round.start(&[("DIDIT_SYNC_WAIT_LEDGER", "1s".to_owned())]);
    writes_at_least(&scene, 20);
    small.fill();
    let output = Output::of(child).exits(12);
    assert!(output.stdout.contains("No space left on device"), "{}", output.stdout);
    assert!(scene.writes() < 600);
    assert_all_told(&scene, &output);
    let mut tally = Tally::default();
    small.make_room();
    round.compare_dead(&mut tally);
    let child = round.start(&[]);
    writes_at_least(&scene, scene.writes() + 20);
    small.fill();
    wait_for("a full disk", || server.log().matches("No space left on device").count() > 8);
    assert_silent(&scene, Duration::from_secs(1));
    small.make_room();
    let output = Output::of(child).exits(0);
    round.compare_settled(&mut tally, &output);
    println!("a full disk: {}", tally.figures());
    tally.assert_promises_kept();
    // Its tables are on what goes now.
    server.stop_immediately();
}

/// Every session that there is, is in the output of this run or of an earlier one.
pub(crate) fn assert_all_told(scene: &Scene, output: &Output) {
    let told = output.json().to_string();
    for session in scene.world.imported() {
        assert!(told.contains(&session.session_id.to_string()), "{} is not told", session.session_id);
    }
}

#[test]
fn promise_4_a_ledger_is_free_the_moment_its_run_has_ended() {
    let Some(server) = cluster() else { return };
    let database = server.database();
    let scene = scene(with_faults(""));
    let round = Round::new(&scene, "next", 1, 0, "").with_ledger(database.url());
    Output::of(round.start(&[])).exits(0);
    for _ in 0..20 {
        let ledger = database.url();
        let args = ["ledger", "forget", "e0000", "--reason", "test", "--json", "--ledger", &ledger];
        scene.run(&args).exits(0);
        Output::of(round.start(&[])).exits(0);
    }
}
