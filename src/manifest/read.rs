//! Files as bytes: which format a name stands for, unpacked, and never more than a limit.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use flate2::read::MultiGzDecoder;
use rayon::prelude::*;

use super::inputs::{Contents, Heard};

/// The most a manifest may hold: a million entries with literal tokens take about 560 MB.
pub(super) const MANIFEST_LIMIT: u64 = 1 << 30;
/// The most a source may hold once unpacked.
pub(super) const SOURCE_LIMIT: u64 = 4 << 30;
/// The most a file with one secret may hold.
pub(super) const SECRET_LIMIT: u64 = 64 << 10;

/// What a source or tokens file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Cells parted by this byte, the first record naming them.
    Cells(u8),
    /// A JSON object a line.
    JsonLines,
    /// One JSON array of objects.
    Json,
    /// A YAML list of maps.
    Yaml,
    /// One token a line.
    Lines,
}

impl Format {
    /// The format by the name's ending, `.gz` and `.zst` put aside.
    pub(super) fn of(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let bare = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        Some(match bare.rsplit_once('.')?.1 {
            "csv" => Self::Cells(b','),
            "tsv" => Self::Cells(b'\t'),
            "ndjson" | "jsonl" => Self::JsonLines,
            "json" => Self::Json,
            "yaml" | "yml" => Self::Yaml,
            "txt" => Self::Lines,
            _ => return None,
        })
    }
}

/// A file to read.
pub(super) struct Opened {
    /// What it holds, unpacked.
    pub(super) reader: Box<dyn Read + Send>,
    /// The file itself, where its bytes are what it holds and can be read again.
    pub(super) plain: Option<File>,
}

/// Opens a file to read, unpacked by its ending, up to `limit` bytes; more is an error of kind `FileTooLarge`. What it
/// held is noted in `contents` once it is read to its end.
pub(super) fn open(path: &Path, limit: u64, contents: Option<&Arc<Contents>>) -> io::Result<Opened> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory"));
    }
    if metadata.len() > limit {
        return Err(too_large());
    }
    let ending = path.extension().map(std::ffi::OsStr::to_ascii_lowercase).unwrap_or_default();
    let is_packed = ending == "gz" || ending == "zst";
    let plain = (metadata.is_file() && !is_packed).then(|| file.try_clone()).transpose()?;
    let file: Box<dyn Read + Send> = match contents {
        Some(contents) => Box::new(Heard::new(file, path, contents)),
        None => Box::new(file),
    };
    let reader: Box<dyn Read + Send> = if ending == "gz" {
        Box::new(MultiGzDecoder::new(BufReader::new(file)))
    } else if ending == "zst" {
        Box::new(zstd::Decoder::new(file)?)
    } else {
        file
    };
    Ok(Opened { reader: Box::new(Limited { inner: reader, left: limit }), plain })
}

/// The whole file, unpacked.
pub(super) fn bytes(path: &Path, limit: u64, contents: Option<&Arc<Contents>>) -> io::Result<Vec<u8>> {
    whole(path, limit, contents).map(|(bytes, _)| bytes)
}

/// The whole file, unpacked, and the file itself, where its bytes are what it holds and can be read again.
pub(super) fn whole(path: &Path, limit: u64, contents: Option<&Arc<Contents>>) -> io::Result<(Vec<u8>, Option<File>)> {
    let mut opened = open(path, limit, contents)?;
    let mut bytes = Vec::new();
    // What is noted is read from its beginning to its end.
    if contents.is_none()
        && let Some(file) = &mut opened.plain
        && let Some(read) = at_once(file)?
    {
        file.seek(io::SeekFrom::Start(read.len() as u64))?;
        bytes = read;
    }
    opened.reader.read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { Err(too_large()) } else { Ok((bytes, opened.plain)) }
}

/// As much of a large file as it says to hold, parts of it side by side; `None` where it is small or holds less.
fn at_once(file: &File) -> io::Result<Option<Vec<u8>>> {
    const PART: usize = 1 << 20;
    let length = file.metadata()?.len() as usize;
    if length < 2 * PART {
        return Ok(None);
    }
    let mut bytes = vec![0; length];
    let read =
        bytes.par_chunks_mut(PART).enumerate().try_for_each(|(at, part)| file.read_exact_at(part, (at * PART) as u64));
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        read => read.map(|()| Some(bytes)),
    }
}

/// What is wrong with a file, in words without its path.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::FileTooLarge => "it is too large".to_owned(),
        _ => error.to_string(),
    }
}

/// Bytes without a leading byte-order mark.
pub(super) fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

/// Line and column (from 1) of a byte.
pub(super) fn position(bytes: &[u8], at: usize) -> (usize, usize) {
    let before = &bytes[..at.min(bytes.len())];
    let line = before.split(|&b| b == b'\n').count();
    let start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
    (line, String::from_utf8_lossy(&before[start..]).chars().count() + 1)
}

fn too_large() -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, "it is too large")
}

struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(too_large)?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_tells_the_format() {
        assert_eq!(Format::of("a/b.CSV.gz"), Some(Format::Cells(b',')));
        assert_eq!(Format::of("b.jsonl.zst"), Some(Format::JsonLines));
        assert_eq!(Format::of("people/*.tsv"), Some(Format::Cells(b'\t')));
        assert_eq!((Format::of("b.xlsx"), Format::of("csv")), (None, None));
    }

    #[test]
    fn a_file_past_the_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.csv");
        std::fs::write(&path, "0123456789").unwrap();
        assert_eq!(bytes(&path, 10, None).unwrap().len(), 10);
        assert_eq!(bytes(&path, 9, None).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_large_file_is_read_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.yaml");
        let written: Vec<u8> = (0..3_000_001_u32).map(|n| (n % 251) as u8).collect();
        std::fs::write(&path, &written).unwrap();
        assert!(bytes(&path, 3_000_001, None).unwrap() == written);
        assert_eq!(bytes(&path, 3_000_000, None).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
