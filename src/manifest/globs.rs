//! Which files a pattern of a manifest means: sorted, each once, none outside the allowed folders.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use super::bounds::{Bounds, Outside};

/// How deep `**` descends.
const DEPTH: usize = 32;

/// A file that a pattern means.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Match {
    /// As shown: from the manifest's path as given.
    pub(super) shown: String,
    pub(super) path: PathBuf,
}

/// Why a pattern means no files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum BadPattern {
    /// It, or a file it matches, leads out of the allowed folders.
    Outside(String),
    /// It can't be read.
    Syntax(String),
}

/// Whether a pattern has wildcards; one without names a file that has to exist.
pub(super) fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', '{'])
}

/// The files of a pattern, relative to the manifest's folder.
pub(super) fn expand(pattern: &str, bounds: &Bounds) -> Result<Vec<Match>, BadPattern> {
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    if !is_pattern(pattern) {
        let path = bounds.join(pattern).map_err(|Outside| BadPattern::Outside(pattern.to_owned()))?;
        return Ok(vec![Match { shown: path.to_string_lossy().into_owned(), path }]);
    }
    let (base, rest) = split(pattern);
    let folder = bounds.join(base).map_err(|Outside| BadPattern::Outside(pattern.to_owned()))?;
    let matcher = GlobBuilder::new(rest)
        .literal_separator(true)
        .build()
        .map_err(|error| BadPattern::Syntax(error.kind().to_string()))?
        .compile_matcher();
    let depth = if rest.contains("**") { DEPTH } else { rest.split('/').count() };
    let mut walk = Walk { matcher, bounds, seen: BTreeSet::new(), found: Vec::new() };
    walk.descend(&folder, Path::new(""), depth)?;
    walk.found.sort();
    // A file that two links lead to is read once.
    let mut real = BTreeSet::new();
    walk.found.retain(|found| std::fs::canonicalize(&found.path).map_or(true, |path| real.insert(path)));
    Ok(walk.found)
}

/// The folder before the first wildcard, and the rest.
fn split(pattern: &str) -> (&str, &str) {
    let wild = pattern.find(['*', '?', '[', '{']).unwrap_or(pattern.len());
    match pattern[..wild].rfind('/') {
        Some(0) => ("/", &pattern[1..]),
        Some(at) => (&pattern[..at], &pattern[at + 1..]),
        None => ("", pattern),
    }
}

struct Walk<'b> {
    matcher: GlobMatcher,
    bounds: &'b Bounds,
    seen: BTreeSet<PathBuf>,
    found: Vec<Match>,
}

impl Walk<'_> {
    /// Goes through a folder. One that can't be read, or is outside, holds nothing.
    fn descend(&mut self, folder: &Path, relative: &Path, depth: usize) -> Result<(), BadPattern> {
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let fresh = std::fs::canonicalize(here).is_ok_and(|real| self.seen.insert(real));
        if depth == 0 || !fresh || !self.bounds.holds(here) {
            return Ok(());
        }
        let Ok(entries) = std::fs::read_dir(here) else { return Ok(()) };
        let mut names: Vec<_> = entries.flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        for name in names {
            let (path, relative) = (folder.join(&name), relative.join(&name));
            if path.is_dir() {
                self.descend(&path, &relative, depth - 1)?;
            } else if self.matcher.is_match(&relative) {
                let shown = path.to_string_lossy().into_owned();
                if path.exists() && !self.bounds.holds(&path) {
                    return Err(BadPattern::Outside(shown));
                }
                self.found.push(Match { shown, path });
            }
        }
        Ok(())
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn patterns_find_files_sorted_and_inside() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        for folder in ["m/people/more", "out"] {
            std::fs::create_dir_all(at(folder)).unwrap();
        }
        for file in ["m/people/b.csv", "m/people/a.csv", "m/people/a.txt", "m/people/more/c.csv", "out/x.csv"] {
            std::fs::write(at(file), "").unwrap();
        }
        std::os::unix::fs::symlink(at("m"), at("m/people/loop")).unwrap();
        let bounds = Bounds::of(&at("m/a.yaml"), &[]);
        let names = |pattern: &str| -> Result<Vec<String>, BadPattern> {
            let found = expand(pattern, &bounds)?;
            Ok(found.iter().map(|m| m.path.strip_prefix(at("m")).unwrap().to_str().unwrap().to_owned()).collect())
        };
        assert_eq!(names("people/*.csv").unwrap(), ["people/a.csv", "people/b.csv"]);
        assert_eq!(names("./people/{a,b}.c?v").unwrap(), ["people/a.csv", "people/b.csv"]);
        assert_eq!(names("**/*.csv").unwrap(), ["people/a.csv", "people/b.csv", "people/more/c.csv"]);
        assert_eq!(names("people/none-*.csv").unwrap(), [""; 0]);
        assert_eq!(names("people/a.csv").unwrap(), ["people/a.csv"]);
        assert!(matches!(names("../out/*.csv"), Err(BadPattern::Outside(_))));
        assert!(matches!(names("people/[.csv"), Err(BadPattern::Syntax(_))));
        std::os::unix::fs::symlink(at("out/x.csv"), at("m/people/z.csv")).unwrap();
        assert!(matches!(names("people/*.csv"), Err(BadPattern::Outside(_))));
    }
}
