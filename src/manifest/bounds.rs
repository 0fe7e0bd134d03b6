//! The folders a manifest may read from: its own, and those of `--root`.
//!
//! A path is judged twice: as written, when the manifest is loaded, and as it is on disk (links followed) before it
//! is opened. What a pull request adds can so name nothing outside, neither by `..` nor by a link.

use std::io;
use std::path::{Component, Path, PathBuf};

/// The manifest's folder and the further roots.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// As given, for joining and showing.
    pub(super) folder: PathBuf,
    /// Canonical: the folder first, then the roots.
    pub(super) roots: Vec<PathBuf>,
}

/// A path leads out of the allowed folders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outside;

impl Bounds {
    /// The bounds of a manifest at `path`. Roots that do not exist allow nothing.
    pub(super) fn of(path: &Path, roots: &[PathBuf]) -> Self {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let own = std::fs::canonicalize(&folder).unwrap_or_else(|_| folder.clone());
        let further = roots.iter().filter_map(|root| std::fs::canonicalize(root).ok());
        Self { folder, roots: std::iter::once(own).chain(further).collect() }
    }

    /// The manifest's folder, canonical.
    pub(super) fn home(&self) -> &Path {
        &self.roots[0]
    }

    /// The path to open for one as written: existing or not, it stays inside.
    pub(super) fn join(&self, written: &str) -> Result<PathBuf, Outside> {
        let path = if self.folder == Path::new(".") { PathBuf::from(written) } else { self.folder.join(written) };
        let climbs = Path::new(written).components().any(|part| part == Component::ParentDir);
        // A path with `..` is for roots only, however it ends.
        let allowed = if climbs { &self.roots[1..] } else { &self.roots[..] };
        let real = match std::fs::canonicalize(&path) {
            Ok(real) => real,
            Err(_) => flatten(&self.roots[0].join(written)).ok_or(Outside)?,
        };
        if is_inside(&real, allowed) { Ok(path) } else { Err(Outside) }
    }

    /// Whether a path that exists is inside once links are followed.
    pub(super) fn holds(&self, path: &Path) -> bool {
        std::fs::canonicalize(path).is_ok_and(|real| is_inside(&real, &self.roots))
    }
}

/// Follows links and checks that the end is a file inside `roots`; gives the path without links, to be opened.
pub(super) fn settle(path: &Path, roots: &[PathBuf]) -> io::Result<PathBuf> {
    let real = std::fs::canonicalize(path)?;
    if !is_inside(&real, roots) {
        return Err(io::Error::other("it leads out of the manifest's folder"));
    }
    if !std::fs::metadata(&real)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    Ok(real)
}

fn is_inside(path: &Path, roots: &[PathBuf]) -> bool {
    roots.iter().any(|root| path.starts_with(root))
}

/// A path with `.` and `..` resolved by letter; `None` past the root.
fn flatten(path: &Path) -> Option<PathBuf> {
    let mut flat = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                if !flat.pop() {
                    return None;
                }
            }
            part => flat.push(part),
        }
    }
    Some(flat)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_the_folder_or_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for name in ["m/people", "shared"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::fs::write(at("shared/x.csv"), "").unwrap();
        std::fs::write(at("m/people/a.csv"), "").unwrap();
        std::os::unix::fs::symlink(at("shared/x.csv"), at("m/link.csv")).unwrap();
        std::os::unix::fs::symlink(at("m/people/a.csv"), at("m/inner.csv")).unwrap();
        let tight = Bounds::of(&at("m/a.yaml"), &[]);
        let wide = Bounds::of(&at("m/a.yaml"), &[at("shared")]);
        assert!(tight.join("people/a.csv").is_ok() && tight.join("inner.csv").is_ok() && tight.join("new.csv").is_ok());
        assert!(tight.join(at("m/people/a.csv").to_str().unwrap()).is_ok());
        for out in ["../shared/x.csv", "link.csv", "/etc/passwd", "../shared/new.csv", "people/../people/a.csv", ".."] {
            assert_eq!(tight.join(out), Err(Outside), "{out}");
        }
        assert!(wide.join("../shared/x.csv").is_ok() && wide.join("link.csv").is_ok());
        assert!(wide.join("../shared/new.csv").is_ok() && wide.join("../m/a.yaml").is_err());
        assert!(settle(&at("m/link.csv"), &tight.roots).is_err());
        assert!(settle(&at("m/people"), &tight.roots).is_err());
        assert!(settle(&at("m/link.csv"), &wide.roots).is_ok());
    }
}
