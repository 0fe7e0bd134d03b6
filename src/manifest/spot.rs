//! Where a token stands in a file, so that it is read when it is sent and not held until then.
//!
//! The file stays open: one that is renamed or replaced under its name is still the one that was loaded. Beyond some
//! hundred files it is opened again by its path, held inside the same folders as at load. Either way a short keyed
//! digest tells whether the bytes are those of then: a file rewritten in place is told, and nothing else is sent.

use std::fs::File;
use std::hash::BuildHasher as _;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use foldhash::quality::RandomState;
use zeroize::Zeroizing;

use super::bounds;
use super::entry::FileName;
use super::read;
use crate::token::ShareToken;

/// How many files a load keeps open.
const OPEN_FILES: usize = 256;

/// The token in a file.
#[derive(Clone)]
pub struct Spot {
    file: Arc<TokenFile>,
    at: u32,
    length: u32,
    digest: u64,
}

/// A token is not where it was when the manifest was loaded. Says nothing of what is there now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token can't be read again: `{file}` {reason}")]
pub struct TokenMoved {
    file: String,
    reason: String,
}

/// A file with tokens. A clone is the same file, for threads that share no counters.
#[derive(Clone, Debug)]
pub(super) struct TokenFile {
    name: FileName,
    path: Arc<Path>,
    roots: Arc<[PathBuf]>,
    /// `None` where too many are open.
    open: Option<Arc<File>>,
}

/// How many files one load keeps open.
#[derive(Debug, Default)]
pub(super) struct OpenFiles(AtomicUsize);

impl OpenFiles {
    /// The file, kept open where that may be. `open` has it already.
    pub(super) fn keep(&self, name: &FileName, path: PathBuf, roots: &[PathBuf], open: File) -> TokenFile {
        let has_room = self.0.fetch_add(1, Ordering::Relaxed) < OPEN_FILES;
        TokenFile { name: name.apart(), path: path.into(), roots: roots.into(), open: has_room.then(|| Arc::new(open)) }
    }
}

impl Spot {
    /// The token that stands at this byte. `None` where the file is too large to say so.
    pub(super) fn new(file: &Arc<TokenFile>, at: u64, token: &str) -> Option<Self> {
        let (at, length) = (u32::try_from(at).ok()?, u32::try_from(token.len()).ok()?);
        Some(Self { file: Arc::clone(file), at, length, digest: digest(token.as_bytes()) })
    }

    /// Whether both are certainly the same token.
    pub(super) fn is_same_token(&self, other: &Self) -> bool {
        (self.length, self.digest) == (other.length, other.digest)
    }

    /// Whether it is this token.
    pub(super) fn is_token(&self, token: &ShareToken) -> bool {
        self.digest == digest(token.expose().as_bytes())
    }

    /// Reads it again.
    pub(super) fn read(&self) -> Result<ShareToken, TokenMoved> {
        let told = |reason: String| TokenMoved { file: crate::text::inert(self.file.name.as_str()), reason };
        let mut bytes = Zeroizing::new(vec![0; self.length as usize]);
        self.file.read(u64::from(self.at), &mut bytes).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => told("was changed since the manifest was loaded".to_owned()),
            _ => told(format!("can't be read: {}", read::reason(&error))),
        })?;
        let is_it = digest(&bytes) == self.digest;
        let text = std::str::from_utf8(&bytes).ok().filter(|_| is_it);
        let token = text.and_then(|text| ShareToken::parse(text).ok());
        token.ok_or_else(|| told("was changed since the manifest was loaded".to_owned()))
    }
}

impl std::fmt::Debug for Spot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Spot({}, {})", self.file.name.as_str(), self.at)
    }
}

impl TokenFile {
    fn read(&self, at: u64, bytes: &mut [u8]) -> io::Result<()> {
        match &self.open {
            Some(file) => file.read_exact_at(bytes, at),
            None => File::open(bounds::settle(&self.path, &self.roots)?)?.read_exact_at(bytes, at),
        }
    }
}

/// Of a token, under a key of this process: it is kept nowhere.
pub(super) fn digest(token: &[u8]) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::default);
    KEY.hash_one(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJzZXNzaW9uX2lkIjoiMSJ9.c2ln";

    #[test]
    fn a_token_is_read_again_or_told_to_be_gone() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let path = root.join("a.csv");
        let written = format!("share_token\n{TOKEN}\n");
        let files = OpenFiles::default();
        let mut spots = Vec::new();
        for _ in 0..=OPEN_FILES {
            std::fs::write(&path, &written).unwrap();
            let file = File::open(&path).unwrap();
            let file = Arc::new(files.keep(&"a.csv".into(), path.clone(), std::slice::from_ref(&root), file));
            spots.push(Spot::new(&file, 12, TOKEN).unwrap());
        }
        let (kept, reopened) = (&spots[0], &spots[OPEN_FILES]);
        assert!(kept.file.open.is_some() && reopened.file.open.is_none());
        assert!(spots.iter().all(|spot| spot.read().unwrap().expose() == TOKEN));

        // Replaced under its name: the open one stays, the other one notices.
        std::fs::write(root.join("b.csv"), written.replace("c2ln", "bmV3")).unwrap();
        std::fs::rename(root.join("b.csv"), &path).unwrap();
        assert_eq!(kept.read().unwrap().expose(), TOKEN);
        let told = reopened.read().unwrap_err().to_string();
        assert_eq!(told, "the token can't be read again: `a.csv` was changed since the manifest was loaded");

        std::fs::remove_file(&path).unwrap();
        assert!(reopened.read().unwrap_err().to_string().ends_with("can't be read: it does not exist"));
    }

    #[test]
    fn a_file_rewritten_in_place_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, TOKEN).unwrap();
        let open = File::open(&path).unwrap();
        let file = Arc::new(OpenFiles::default().keep(&"a.csv".into(), path.clone(), &[], open));
        let spot = Spot::new(&file, 0, TOKEN).unwrap();
        for other in [TOKEN.replace("c2ln", "bmV3"), "short".to_owned()] {
            std::fs::write(&path, &other).unwrap();
            let told = spot.read().unwrap_err().to_string();
            assert!(told.ends_with("was changed since the manifest was loaded") && !told.contains("eyJ"), "{told}");
        }
    }
}
