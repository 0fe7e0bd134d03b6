//! The demo's files, as a user would have them.

use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::Scene;
use crate::sandbox::Running;
use crate::token::SessionKind;

/// Why the folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file of that name is there already.
    #[error("{} exists and is left as it is", .0.display())]
    Exists(PathBuf),
    /// Something could not be written.
    #[error("{} can't be written: {source}", .path.display())]
    Unwritable {
        /// What.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

/// Where manifest, roster, secrets and ledger are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folder(PathBuf);

const KEY: &str = "api-key";
const CARMEN: &str = "carmen.token";
const ROSTER: &str = "people.csv";

impl Folder {
    /// A folder of this name, made if need be, that holds none of the demo's files; without a name, a new one among
    /// the temporary ones. A new one is for its owner only.
    pub fn create(named: Option<&Path>) -> Result<Self, FolderError> {
        let Some(path) = named else { return Self::temporary() };
        make(path, true).map_err(|source| FolderError::Unwritable { path: path.to_owned(), source })?;
        let folder = Self(path.to_owned());
        let files = [folder.manifest(), folder.roster(), folder.0.join(CARMEN), folder.0.join(KEY)];
        match files.into_iter().chain([folder.ledger()]).find(|file| file.symlink_metadata().is_ok()) {
            Some(file) => Err(FolderError::Exists(file)),
            None => Ok(folder),
        }
    }

    fn temporary() -> Result<Self, FolderError> {
        let name = format!("didit-sync-demo-{}", Timestamp::now().strftime("%Y%m%d-%H%M%S"));
        let mut path = std::env::temp_dir().join(&name);
        for number in 2.. {
            match make(&path, false) {
                Ok(()) => break,
                // Another demo started in the same second.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < 100 => {
                    path = std::env::temp_dir().join(format!("{name}-{number}"));
                }
                Err(source) => return Err(FolderError::Unwritable { path, source }),
            }
        }
        Ok(Self(path))
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> PathBuf {
        self.0.join("demo.yaml")
    }

    /// The roster.
    #[must_use]
    pub fn roster(&self) -> PathBuf {
        self.0.join(ROSTER)
    }

    /// The ledger.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.0.join("ledger.db")
    }

    /// Writes everything but the ledger.
    pub fn write(&self, scene: &Scene, sandbox: &Running) -> Result<(), FolderError> {
        let mut roster = "id,token,user_ref\n".to_owned();
        for row in &scene.rows {
            // Writing to a String does not fail.
            let _ = writeln!(roster, "{},{},{}", row.id, row.token, row.user_ref);
        }
        self.file(KEY, 0o600, &sandbox.api_key())?;
        self.file(CARMEN, 0o600, &scene.carmen)?;
        self.file(ROSTER, 0o600, &roster)?;
        self.file("demo.yaml", 0o644, &manifest(sandbox))
    }

    fn file(&self, name: &str, mode: u32, text: &str) -> Result<(), FolderError> {
        let path = self.0.join(name);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => FolderError::Exists(path),
            _ => FolderError::Unwritable { path, source },
        })
    }
}

fn make(path: &Path, with_parents: bool) -> io::Result<()> {
    DirBuilder::new().recursive(with_parents).mode(0o700).create(path)
}

fn manifest(sandbox: &Running) -> String {
    format!(
        r"# Written by `didit-sync demo`. It says which shared sessions are to be imported, and how; the tokens are in
# files of their own, which only you can read.
version: 1
name: demo

application:
  id: {application}   # tokens minted for another application are refused here
  base_url: {base_url}   # the sandbox of the demo, gone when it ends
  api_key: {{file: {KEY}}}

defaults:
  workflow_id:
    user: {user}
    business: {business}
  trust_review: false   # imported sessions wait for our own review

imports:
  - id: carmen
    share_token: {{file: {CARMEN}}}
    trust_review: true   # she keeps the status that the partner gave her
    vendor_data: customer-carmen

sources:
  - file: {ROSTER}
    columns: {{share_token: token, vendor_data: user_ref}}
    on_duplicate: latest   # of two tokens for one session, the one that expires last
",
        application = sandbox.application_id(),
        base_url = sandbox.base_url(),
        user = sandbox.workflow(SessionKind::User),
        business = sandbox.workflow(SessionKind::Business),
    )
}
