//! What manifests were loaded from, so that it can be told later, without loading them again, whether all of it is still
//! the same: the manifests themselves, and every file that their patterns name.
//!
//! While files are loaded, what is read of them is digested on its way ([`Contents`]), so that no change between a
//! reading and its digest can go unnoticed. Later the files are digested as they are then ([`Inputs::digest_now`]), several
//! megabytes at a time on all cores: that takes a fraction of what it takes to make entries of them.
//!
//! BLAKE3 over whatever loading depends on: this program's version, the options, and paths and contents in order. Who
//! can write the files can't make others with the same digest.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use blake3::{Hash, Hasher};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::bounds::Bounds;
use super::entry::TokenSource;
use super::globs;
use super::load::{self, LoadOptions};
use super::model::Manifests;
use super::read::Format;

/// How many bytes of a file are held while it is digested.
const AT_ONCE: usize = 8 << 20;
/// How many of them one thread reads.
const PART: usize = 1 << 20;

/// The digests of the files that were read, by path.
///
/// A file is in it once its end was met, and `None` if it was read twice and was not the same.
#[derive(Debug, Default)]
pub struct Contents(Mutex<HashMap<PathBuf, Option<Hash>>>);

impl Contents {
    fn note(&self, path: &Path, hash: Hash) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = known.entry(path.to_owned()).or_insert(Some(hash));
        *noted = noted.filter(|noted| *noted == hash);
    }

    fn are_among(&self, there: &HashSet<PathBuf>) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().all(|path| there.contains(path))
    }

    fn of(&self, path: &Path) -> Option<Hash> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner).get(path)?
    }
}

/// A file that is digested while it is read, from its beginning to its end.
pub(super) struct Heard {
    file: File,
    path: PathBuf,
    hasher: Box<Hasher>,
    contents: Arc<Contents>,
}

impl Heard {
    pub(super) fn new(file: File, path: &Path, contents: &Arc<Contents>) -> Self {
        Self { file, path: path.to_owned(), hasher: Box::default(), contents: Arc::clone(contents) }
    }
}

impl Read for Heard {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        if read == 0 && !buffer.is_empty() {
            self.contents.note(&self.path, self.hasher.finalize());
        }
        Ok(read)
    }
}

/// Where manifests come from: their paths, and the patterns of the files that they name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inputs(Vec<Input>);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Input {
    path: String,
    patterns: Vec<String>,
}

impl Inputs {
    /// Those of manifests that were loaded. `None` where files alone don't decide what comes of them: where a token
    /// stands in the environment, in a file of its own or comes from a program.
    #[must_use]
    pub fn of(manifests: &Manifests) -> Option<Self> {
        let is_elsewhere = |token: &TokenSource| matches!(token, TokenSource::Reference(_));
        let mut entries = manifests.manifests.iter().flat_map(|manifest| &manifest.entries);
        if entries.any(|entry| is_elsewhere(&entry.token)) {
            return None;
        }
        let input = |path: &String, patterns: &Vec<String>| Input { path: path.clone(), patterns: patterns.clone() };
        Some(Self(manifests.manifests.iter().map(|manifest| input(&manifest.path, &manifest.patterns)).collect()))
    }

    /// Whether they are what these paths, given on a command line, stand for.
    #[must_use]
    pub fn are_of(&self, paths: &[String]) -> bool {
        load::find(paths, &mut super::sink::Sink::default()).iter().eq(self.0.iter().map(|input| &input.path))
    }

    /// How many bytes the files have now; `None` where one is missing, or can be read only once.
    #[must_use]
    pub fn size(&self, options: &LoadOptions) -> Option<u64> {
        Some(self.files(options)?.iter().map(|(_, length)| length).sum())
    }

    /// The digest of what was loaded; `None` where that are other files than are there now, or one was read twice and was
    /// not the same.
    #[must_use]
    pub fn digest_loaded(&self, options: &LoadOptions) -> Option<String> {
        let contents = options.contents.as_ref()?;
        let there: HashSet<PathBuf> = self.files(options)?.into_iter().map(|(path, _)| path).collect();
        if !contents.are_among(&there) {
            return None;
        }
        self.digest(options, |path| contents.of(path))
    }

    /// The digest of what loading would read now; `None` where it would fail.
    #[must_use]
    pub fn digest_now(&self, options: &LoadOptions) -> Option<String> {
        self.digest(options, |path| digest_of(path).ok())
    }

    fn digest(&self, options: &LoadOptions, content: impl Fn(&Path) -> Option<Hash>) -> Option<String> {
        let mut hasher = Hasher::new();
        let LoadOptions { roots, allow_exec, allow_hosts, tokens, .. } = options;
        let settings = serde_json::to_vec(&(env!("CARGO_PKG_VERSION"), roots, allow_exec, allow_hosts, tokens)).ok()?;
        let mut add = |bytes: &[u8]| {
            hasher.update(&(bytes.len() as u64).to_le_bytes()).update(bytes);
        };
        add(&settings);
        for (path, _) in self.files(options)? {
            add(path.as_os_str().as_encoded_bytes());
            add(content(&path)?.as_bytes());
        }
        Some(hasher.finalize().to_string())
    }

    /// The files and how long they are, in order: each manifest before those that it names.
    fn files(&self, options: &LoadOptions) -> Option<Vec<(PathBuf, u64)>> {
        let mut files = Vec::new();
        let mut add = |path: PathBuf| {
            let file = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
            files.push((path, file.len()));
            Some(())
        };
        for Input { path, patterns } in &self.0 {
            let bounds = Bounds::of(Path::new(path), &options.roots);
            add(PathBuf::from(path))?;
            for pattern in patterns {
                let found = globs::expand(pattern, &bounds).ok()?;
                let known = found.into_iter().filter(|found| Format::of(&found.shown).is_some());
                known.map(|found| found.path).try_for_each(&mut add)?;
            }
        }
        Some(files)
    }
}

/// The digest of a file as it is, packed or not.
fn digest_of(path: &Path) -> io::Result<Hash> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let mut hasher = Hasher::new();
    // It may hold tokens.
    let mut buffer = Zeroizing::new(vec![0; AT_ONCE.min(length as usize)]);
    let mut at = 0;
    while at < length {
        let bytes = buffer.len().min((length - at) as usize);
        let read = |(part, bytes): (usize, &mut [u8])| file.read_exact_at(bytes, at + (part * PART) as u64);
        buffer[..bytes].par_chunks_mut(PART).enumerate().try_for_each(read)?;
        hasher.update_rayon(&buffer[..bytes]);
        at += bytes as u64;
    }
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(dir: &Path) -> (Manifests, LoadOptions, Vec<String>) {
        let options = LoadOptions { contents: Some(Arc::default()), ..LoadOptions::default() };
        let paths = vec![dir.join("m.yaml").display().to_string()];
        (load::load(&paths, &options).unwrap(), options, paths)
    }

    fn folder(sources: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let manifest = format!(
            "version: 1\nname: acme\ndefaults: {{workflow_id: 11111111-2222-4333-8444-555555555555, trust_review: false}}\n{sources}"
        );
        std::fs::write(dir.path().join("m.yaml"), manifest).unwrap();
        dir
    }

    const SOURCES: &str = "sources: [{file: 'rows/*.ndjson'}, {file: rows/packed.csv.gz}]\n";

    fn row(number: u128) -> String {
        format!("{{\"source_session_id\": \"{}\"}}\n", uuid::Uuid::from_u128(number))
    }

    fn with_rows() -> tempfile::TempDir {
        let dir = folder(SOURCES);
        std::fs::create_dir(dir.path().join("rows")).unwrap();
        std::fs::write(dir.path().join("rows/a.ndjson"), (1..100).map(row).collect::<String>()).unwrap();
        std::fs::write(dir.path().join("rows/b.ndjson"), row(100)).unwrap();
        let packed = File::create(dir.path().join("rows/packed.csv.gz")).unwrap();
        let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
        io::Write::write_all(&mut packed, format!("source_session_id\n{}\n", uuid::Uuid::from_u128(200)).as_bytes())
            .unwrap();
        packed.finish().unwrap();
        dir
    }

    #[test]
    fn what_was_loaded_has_the_digest_of_what_is_there_until_a_file_changes_comes_or_goes() {
        let dir = with_rows();
        let (manifests, options, paths) = loaded(dir.path());
        let inputs = Inputs::of(&manifests).unwrap();
        let digest = inputs.digest_loaded(&options).unwrap();
        assert_eq!(inputs.digest_now(&options).as_ref(), Some(&digest));
        assert!(inputs.are_of(&paths) && !inputs.are_of(&["other.yaml".to_owned()]));
        let at = |name: &str| dir.path().join(name);
        let differs = |what: &str| assert_ne!(inputs.digest_now(&options).as_ref(), Some(&digest), "{what}");
        let as_it_was = || assert_eq!(inputs.digest_now(&options).as_ref(), Some(&digest));

        let size = inputs.size(&options).unwrap();
        std::fs::write(at("rows/b.ndjson"), row(101)).unwrap();
        assert_eq!(inputs.size(&options), Some(size));
        differs("another row of the same length");
        std::fs::write(at("rows/b.ndjson"), row(100)).unwrap();
        as_it_was();
        std::fs::write(at("rows/c.ndjson"), row(102)).unwrap();
        assert!(inputs.size(&options) > Some(size));
        differs("a file more");
        std::fs::rename(at("rows/c.ndjson"), at("rows/c.text")).unwrap();
        as_it_was();
        std::fs::rename(at("rows/a.ndjson"), at("rows/z.ndjson")).unwrap();
        differs("another name");
        std::fs::rename(at("rows/z.ndjson"), at("rows/a.ndjson")).unwrap();
        std::fs::remove_file(at("rows/packed.csv.gz")).unwrap();
        assert_eq!((inputs.digest_now(&options), inputs.size(&options)), (None, None));
    }

    #[test]
    fn a_change_while_files_are_loaded_is_no_content_of_theirs() {
        let dir = with_rows();
        let (manifests, options, _) = loaded(dir.path());
        let inputs = Inputs::of(&manifests).unwrap();
        let digest = inputs.digest_loaded(&options);
        std::fs::rename(dir.path().join("rows/b.ndjson"), dir.path().join("b")).unwrap();
        assert_eq!(inputs.digest_loaded(&options), None, "a file that was read has gone");
        std::fs::write(dir.path().join("rows/b.ndjson"), row(101)).unwrap();
        assert_eq!(inputs.digest_loaded(&options), digest, "that of what was read");
        load::load(&[dir.path().join("m.yaml").display().to_string()], &options).unwrap();
        assert_eq!(inputs.digest_loaded(&options), None, "read twice, and not the same");
    }

    #[test]
    fn the_options_have_their_part_and_a_token_elsewhere_is_beyond_files() {
        let dir = with_rows();
        let (manifests, options, _) = loaded(dir.path());
        let inputs = Inputs::of(&manifests).unwrap();
        for other in [
            LoadOptions { allow_exec: true, ..options.clone() },
            LoadOptions { allow_hosts: vec!["example.com".to_owned()], ..options.clone() },
            LoadOptions { roots: vec![dir.path().to_owned()], ..options.clone() },
        ] {
            assert_ne!(inputs.digest_now(&options), inputs.digest_now(&other));
        }
        let dir = folder(
            "imports: [{share_token: {file: token}, source_session_id: 11111111-2222-4333-8444-000000000001}]\n",
        );
        std::fs::write(dir.path().join("token"), "eyJhbGciOiJIUzI1NiJ9.eyJhIjoxfQ.c2ln").unwrap();
        assert_eq!(Inputs::of(&loaded(dir.path()).0), None);
    }

    #[test]
    fn a_large_file_is_digested_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        for length in [0, 1, PART, AT_ONCE, AT_ONCE + PART + 1] {
            let bytes: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(digest_of(&path).unwrap(), blake3::hash(&bytes), "{length}");
        }
    }
}
