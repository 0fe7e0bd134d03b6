//! Writing files whole or not at all.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::mask::{Masking, masked};

/// Writes `text`, secrets masked, to `path`: to a new file beside it first (0600, synced), which then takes its place.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    replace(path, text, 0o600)
}

/// Writes a JSON document as [`write_whole`] writes a text, as it is made.
pub fn write_json_whole(path: &Path, document: &impl serde::Serialize) -> io::Result<()> {
    fill(path, 0o600, |file| {
        let mut masking = Masking::new(file);
        crate::text::write_json(document, &mut masking)?;
        masking.end().map(drop)
    })
}

/// Writes a report: as [`write_whole`], for everybody to read if it is `public`. A link stays one, and what is no file,
/// such as `/dev/stdout` or a pipe, is written to.
pub fn write(path: &Path, text: &str, public: bool) -> io::Result<()> {
    write_as_made(path, public, |to| to.write_all(text.as_bytes()))
}

/// Writes a report as [`write()`] does, as it is made.
pub fn write_as_made(
    path: &Path,
    public: bool,
    make: impl FnOnce(&mut dyn io::Write) -> io::Result<()>,
) -> io::Result<()> {
    let write = |file: &mut fs::File| {
        let mut masking = Masking::new(io::BufWriter::with_capacity(1 << 16, file));
        make(&mut masking)?;
        masking.end()?.flush()
    };
    let is_special = fs::metadata(path).is_ok_and(|it| !it.is_file() && !it.is_dir());
    if is_special || path.starts_with("/dev") || path.starts_with("/proc") {
        return write(&mut fs::OpenOptions::new().append(true).open(path)?);
    }
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    fill(&target, if public { 0o644 } else { 0o600 }, write)
}

/// Adds `text`, secrets masked, to a file by one write.
pub fn append(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(masked(text).as_bytes())
}

fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    fill(path, mode, |file| file.write_all(masked(text).as_bytes()))
}

fn fill(path: &Path, mode: u32, write: impl FnOnce(&mut fs::File) -> io::Result<()>) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::other("not a file name"))?;
    let beside = path.with_file_name(format!(".{}.{}.tmp", name.to_string_lossy(), std::process::id()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&beside)
        .and_then(|mut file| write(&mut file).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What can't be written can perhaps be removed; the error below says what failed.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.json");
        write_whole(&path, "one").unwrap();
        write_whole(&path, "two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(write_whole(&folder.path().join("no/such/folder.json"), "x").is_err());
    }

    #[test]
    fn a_link_stays_and_only_what_is_public_may_be_read_by_all() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a.prom"), folder.path().join("link"));
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o044;
        write(&path, "one", false).unwrap();
        assert_eq!(mode(), 0);
        symlink(&path, &link).unwrap();
        write(&link, "two", true).unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode()), (b"two".to_vec(), 0o044));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        append(&path, "three").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"twothree");
        write(Path::new("/dev/null"), "x", false).unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }
}
