//! The ledger of a folder's programs: a file, or, where `DIDIT_SYNC_TEST_LEDGER` says `postgres`, a database of its own
//! for each. Tests name ledgers by the files that they are or would be, and ask both in the same SQL.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use didit_sync::ledger::{Location, Lock, Purpose};
use postgres::types::Type;
use rusqlite::types::{FromSql, Value, ValueRef};

use super::postgres::{Database, cluster};
use super::program::Folder;

/// The ledger that a program has unless it is told another.
pub const USUAL: &str = "state/ledger.db";

/// Whether ledgers are databases of a PostgreSQL.
pub fn is_postgres() -> bool {
    match std::env::var("DIDIT_SYNC_TEST_LEDGER").as_deref() {
        Ok("postgres") => true,
        Ok("sqlite") | Err(_) => false,
        Ok(other) => panic!("DIDIT_SYNC_TEST_LEDGER={other}: sqlite or postgres"),
    }
}

/// Whether a test that has to do with the ledger's file is left out, which is said, since there is none.
#[must_use]
pub fn file_only(why: &str) -> bool {
    if is_postgres() {
        let thread = std::thread::current();
        // Past the test's capture, so that it is seen.
        let _ = writeln!(std::io::stderr(), "left out on PostgreSQL: {} ({why})", thread.name().unwrap_or_default());
    }
    is_postgres()
}

/// The databases of a folder, by the files that they stand for.
#[derive(Default)]
pub struct Ledgers(Mutex<BTreeMap<String, Database<'static>>>);

impl Folder {
    /// What `--ledger` says for the ledger of this file.
    pub fn ledger_at(&self, file: &str) -> String {
        if is_postgres() { self.with_database(file, Database::url) } else { file.to_owned() }
    }

    /// Tells a program that is run in this folder of the ledger, unless it finds it by itself.
    pub fn tell_ledger(&self, command: &mut std::process::Command) {
        if is_postgres() {
            command.env("DIDIT_SYNC_LEDGER", self.ledger_at(USUAL));
        }
    }

    /// Holds the usual ledger as an apply or a repair does, until it is dropped.
    pub fn hold(&self) -> Lock {
        let named = if is_postgres() { PathBuf::from(self.ledger_at(USUAL)) } else { self.ledger() };
        let location = Location::parse(&named, false, &|name| std::env::var_os(name)).unwrap();
        Lock::take(&location, Purpose::Change, Duration::ZERO).unwrap()
    }

    /// How many sessions the usual ledger's server has with programs, and with who holds it for the test.
    pub fn sessions(&self) -> i64 {
        self.with_database(USUAL, Database::sessions)
    }

    /// The folder's usual ledger, to be asked and changed behind the program's back.
    pub fn sql(&self) -> Sql {
        self.sql_at(USUAL)
    }

    /// The ledger of this file, likewise.
    pub fn sql_at(&self, file: &str) -> Sql {
        if is_postgres() {
            Sql::Server(Box::new(self.with_database(file, Database::connect)))
        } else {
            Sql::File(rusqlite::Connection::open(self.path(file)).unwrap())
        }
    }

    /// The usual ledger, for changes after which rows refer to none.
    pub fn sql_without_references(&self) -> Sql {
        if is_postgres() {
            return Sql::Server(Box::new(self.with_database(USUAL, Database::connect_without_references)));
        }
        let file = rusqlite::Connection::open(self.ledger()).unwrap();
        file.pragma_update(None, "foreign_keys", false).unwrap();
        Sql::File(file)
    }

    /// Makes a copy of a ledger that nobody uses.
    pub fn copy_ledger(&self, from: &str, to: &str) {
        if is_postgres() {
            let copy = self.with_database(from, Database::copy);
            self.ledgers.0.lock().unwrap().insert(to.to_owned(), copy);
        } else {
            std::fs::create_dir_all(self.path(to).parent().unwrap()).unwrap();
            std::fs::copy(self.path(from), self.path(to)).unwrap();
        }
    }

    /// Gives the folder of a ledger that nobody uses another name.
    pub fn move_ledgers(&self, from: &str, to: &str) {
        let mut databases = self.ledgers.0.lock().unwrap();
        let names: Vec<String> =
            databases.keys().filter(|name| name.starts_with(&format!("{from}/"))).cloned().collect();
        for name in names {
            let database = databases.remove(&name).unwrap();
            databases.insert(format!("{to}{}", &name[from.len()..]), database);
        }
        if !is_postgres() {
            std::fs::rename(self.path(from), self.path(to)).unwrap();
        }
    }

    /// Removes the folder of ledgers that nobody uses.
    pub fn remove_ledgers(&self, folder: &str) {
        let folder = format!("{folder}/");
        self.ledgers.0.lock().unwrap().retain(|name, _| !name.starts_with(&folder));
        if !is_postgres() {
            std::fs::remove_dir_all(self.path(&folder)).unwrap();
        }
    }

    /// The tables of the databases that stand for files in this folder.
    pub fn tables_under(&self, name: &str) -> BTreeMap<PathBuf, Vec<u8>> {
        let folder = self.path(name);
        let mut found = BTreeMap::new();
        for (file, database) in self.ledgers.0.lock().unwrap().iter() {
            let path = self.path(file);
            if path.starts_with(&folder) {
                let tables = Sql::Server(Box::new(database.connect())).tables();
                found.extend(tables.into_iter().map(|(table, bytes)| (path.join(table), bytes)));
            }
        }
        found
    }

    fn with_database<T>(&self, file: &str, give: impl FnOnce(&Database<'static>) -> T) -> T {
        let mut databases = self.ledgers.0.lock().unwrap();
        let new = || cluster().expect("a PostgreSQL").database();
        give(databases.entry(file.to_owned()).or_insert_with(new))
    }
}

/// A session with a ledger. Parameters are `$1`, `$2` and so on, in the order in which they occur.
pub enum Sql {
    File(rusqlite::Connection),
    Server(Box<postgres::Client>),
}

/// A row of an answer.
#[derive(Clone, Debug)]
pub struct Row(Vec<Value>);

impl Row {
    #[track_caller]
    pub fn get<T: FromSql>(&self, at: usize) -> T {
        T::column_result(ValueRef::from(&self.0[at])).unwrap()
    }
}

impl Sql {
    /// Changes rows, and gives their number.
    #[track_caller]
    pub fn execute(&mut self, sql: &str, parameters: &[&str]) -> u64 {
        match self {
            Self::File(file) => file.execute(sql, rusqlite::params_from_iter(parameters)).unwrap() as u64,
            Self::Server(server) => server.execute(sql, &of_server(parameters)).unwrap(),
        }
    }

    #[track_caller]
    pub fn rows(&mut self, sql: &str, parameters: &[&str]) -> Vec<Row> {
        self.named(sql, parameters).1
    }

    /// The first value of the one row of an answer.
    #[track_caller]
    pub fn value<T: FromSql>(&mut self, sql: &str, parameters: &[&str]) -> T {
        let rows = self.rows(sql, parameters);
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows[0].get(0)
    }

    /// All rows of a table, by their columns' names.
    #[track_caller]
    pub fn table(&mut self, table: &str) -> Vec<BTreeMap<String, Value>> {
        let (names, rows) = self.named(&format!("SELECT * FROM {table} ORDER BY 1, 2"), &[]);
        rows.into_iter().map(|row| names.iter().cloned().zip(row.0).collect()).collect()
    }

    /// From now on, whoever inserts into this table is refused; into another that was named before, no longer.
    pub fn refuse_inserts_into(&mut self, table: &str) {
        match self {
            Self::File(file) => {
                let trigger = format!(
                    "DROP TRIGGER IF EXISTS broken; CREATE TRIGGER broken BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'broken'); END"
                );
                file.execute_batch(&trigger).unwrap();
            }
            Self::Server(server) => {
                let trigger = format!(
                    "DROP FUNCTION IF EXISTS broken CASCADE; \
                     CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'broken'; END $$; \
                     CREATE TRIGGER broken BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION broken()"
                );
                server.batch_execute(&trigger).unwrap();
            }
        }
    }

    fn named(&mut self, sql: &str, parameters: &[&str]) -> (Vec<String>, Vec<Row>) {
        match self {
            Self::File(file) => {
                let mut query = file.prepare(sql).unwrap();
                let names: Vec<String> = query.column_names().into_iter().map(str::to_owned).collect();
                let row = |row: &rusqlite::Row<'_>| (0..names.len()).map(|at| row.get(at)).collect();
                let rows = query.query_map(rusqlite::params_from_iter(parameters), row).unwrap();
                let rows = rows.map(|values| Row(values.unwrap())).collect();
                (names, rows)
            }
            Self::Server(server) => {
                let query = server.prepare(sql).unwrap();
                let names: Vec<String> = query.columns().iter().map(|column| column.name().to_owned()).collect();
                let rows = server.query(&query, &of_server(parameters)).unwrap();
                let values = |row: &postgres::Row| (0..names.len()).map(|at| row.get::<_, Read>(at).0).collect();
                (names.clone(), rows.iter().map(|row| Row(values(row))).collect())
            }
        }
    }

    /// Every table of a server's ledger, with all that stands in its rows.
    pub fn tables(&mut self) -> BTreeMap<String, Vec<u8>> {
        let listed = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables \
                      WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
        let names: Vec<String> = self.rows(listed, &[]).iter().map(|row| row.get(0)).collect();
        let bytes = |row: Row| row.0.iter().flat_map(|cell| [bytes(cell), vec![0x1F]].concat()).collect::<Vec<u8>>();
        let mut tables = BTreeMap::new();
        for name in names {
            let mut rows: Vec<Vec<u8>> =
                self.rows(&format!("SELECT * FROM {name}"), &[]).into_iter().map(bytes).collect();
            rows.sort();
            tables.insert(name, rows.concat());
        }
        tables
    }
}

fn bytes(cell: &Value) -> Vec<u8> {
    match cell {
        Value::Null => Vec::new(),
        Value::Integer(number) => number.to_string().into_bytes(),
        Value::Real(number) => number.to_string().into_bytes(),
        Value::Text(text) => text.clone().into_bytes(),
        Value::Blob(bytes) => bytes.clone(),
    }
}

fn of_server<'p>(parameters: &'p [&'p str]) -> Vec<&'p (dyn postgres::types::ToSql + Sync)> {
    parameters.iter().map(|text| text as &(dyn postgres::types::ToSql + Sync)).collect()
}

/// A value of the server as one of the file.
struct Read(Value);

impl<'r> postgres::types::FromSql<'r> for Read {
    fn from_sql(of: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(match *of {
            Type::BOOL => Value::Integer(bool::from_sql(of, raw)?.into()),
            Type::INT2 => Value::Integer(i16::from_sql(of, raw)?.into()),
            Type::INT4 => Value::Integer(i32::from_sql(of, raw)?.into()),
            Type::INT8 => Value::Integer(i64::from_sql(of, raw)?),
            Type::FLOAT8 => Value::Real(f64::from_sql(of, raw)?),
            Type::TEXT | Type::VARCHAR | Type::NAME => Value::Text(String::from_utf8(raw.to_vec())?),
            // And of others, such as times, what comes over the line.
            _ => Value::Blob(raw.to_vec()),
        }))
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(Value::Null))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}
