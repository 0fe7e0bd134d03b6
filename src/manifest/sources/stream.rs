//! A file in chunks of whole lines, worked on side by side and taken in order, so that neither their size nor the
//! number of threads shows in what comes out.
//!
//! While one batch of chunks is worked on, the next is read and what the last gave is taken. Only these batches are
//! held. The buffers held tokens and are wiped when they are dropped; until then they are used again.

use std::io::Read;

use rayon::prelude::*;
use zeroize::Zeroizing;

use super::lines::LINE_LIMIT;
use super::{Broken, Seen, json};

/// The bytes of a chunk, unless a line is longer.
pub(in crate::manifest) const CHUNK: usize = 1 << 20;

/// Where a file may be cut.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cut {
    /// At the end of every line; none may be longer than [`LINE_LIMIT`].
    Lines,
    /// At the end of every record of cells that are parted by this byte.
    Records(u8),
    /// Behind the comma after every element of a JSON array.
    Elements,
}

/// Whole lines or records of a file.
pub(super) struct Chunk {
    buffer: Zeroizing<Vec<u8>>,
    length: usize,
    /// Where it begins in what the file holds.
    pub(super) offset: u64,
    /// The number of its first line.
    pub(super) line: usize,
    /// How many characters of that line stand before it; known only of elements.
    pub(super) column: usize,
    /// Whether nothing follows.
    pub(super) is_last: bool,
}

impl Chunk {
    /// A whole file.
    pub(super) fn whole(bytes: Vec<u8>) -> Self {
        let length = bytes.len();
        Self { buffer: Zeroizing::new(bytes), length, offset: 0, line: 1, column: 0, is_last: true }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

/// The chunks of a file.
pub(super) struct Chunks {
    reader: Box<dyn Read + Send>,
    cut: Cut,
    size: usize,
    /// The beginning of a line that the last chunk ended in.
    rest: Zeroizing<Vec<u8>>,
    offset: u64,
    line: usize,
    column: usize,
    failed: Option<Broken>,
    is_done: bool,
    spare: Vec<Zeroizing<Vec<u8>>>,
}

impl Chunks {
    pub(super) fn new(reader: Box<dyn Read + Send>, cut: Cut, size: usize) -> Self {
        let rest = Zeroizing::new(Vec::new());
        Self { reader, cut, size, rest, offset: 0, line: 1, column: 0, failed: None, is_done: false, spare: Vec::new() }
    }

    /// The next chunk. What was read before an error comes before it.
    pub(super) fn next(&mut self) -> Result<Option<Chunk>, Broken> {
        if self.is_done {
            return self.failed.take().map_or(Ok(None), Err);
        }
        let mut buffer = self.spare.pop().unwrap_or_else(|| Zeroizing::new(vec![0; self.size]));
        while buffer.len() <= self.rest.len() {
            buffer = grown(&buffer, 0);
        }
        let mut length = self.rest.len();
        buffer[..length].copy_from_slice(&self.rest);
        let end = loop {
            self.fill(&mut buffer, &mut length);
            // A line that is too long is told by who reads it.
            let is_enough = matches!(self.cut, Cut::Lines) && length >= LINE_LIMIT;
            let mark = buffer[..length].len() - self.without_mark(&buffer[..length]).len();
            match self.cut.last(&buffer[mark..length], self.offset > 0).map(|end| end + mark) {
                _ if self.is_done && self.failed.is_none() => break length,
                Some(end) => break end,
                None if self.failed.is_some() => break 0,
                None if is_enough => {
                    self.is_done = true;
                    break length;
                }
                None => buffer = grown(&buffer, length),
            }
        };
        self.rest = Zeroizing::new(buffer[end..length].to_vec());
        let (offset, line, column) = (self.offset, self.line, self.column);
        if matches!(self.cut, Cut::Elements) {
            (self.line, self.column) = advanced((line, column), self.without_mark(&buffer[..end]));
        } else {
            self.line += newlines(&buffer[..end]);
        }
        self.offset += end as u64;
        Ok(Some(Chunk { buffer, length: end, offset, line, column, is_last: self.is_done && self.failed.is_none() }))
    }

    /// The bytes without the file's byte-order mark, behind which its first cell begins.
    fn without_mark<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        if self.offset == 0 { crate::manifest::read::without_bom(bytes) } else { bytes }
    }

    fn fill(&mut self, buffer: &mut [u8], length: &mut usize) {
        while *length < buffer.len() {
            match self.reader.read(&mut buffer[*length..]) {
                Ok(0) => {
                    self.is_done = true;
                    return;
                }
                Ok(read) => *length += read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    (self.failed, self.is_done) = (Some(error.into()), true);
                    return;
                }
            }
        }
    }

    /// So many chunks, and why there are no more.
    fn batch(&mut self, count: usize) -> (Vec<Chunk>, Result<(), Broken>) {
        let mut chunks = Vec::with_capacity(count);
        while chunks.len() < count {
            match self.next() {
                Ok(Some(chunk)) => chunks.push(chunk),
                Ok(None) => return (chunks, Ok(())),
                Err(broken) => return (chunks, Err(broken)),
            }
        }
        (chunks, Ok(()))
    }
}

/// Twice as large, with what is held already.
fn grown(buffer: &[u8], length: usize) -> Zeroizing<Vec<u8>> {
    let mut larger = Zeroizing::new(vec![0; (buffer.len() * 2).max(64)]);
    larger[..length].copy_from_slice(&buffer[..length]);
    larger
}

/// A line and the number of characters before a place in it, after these bytes more.
pub(super) fn advanced((line, column): (usize, usize), bytes: &[u8]) -> (usize, usize) {
    // All but the first byte of a character goes on with it.
    let characters = |bytes: &[u8]| bytes.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
    match memchr::memrchr(b'\n', bytes) {
        Some(at) => (line + newlines(bytes), characters(&bytes[at + 1..])),
        None => (line, column + characters(bytes)),
    }
}

/// How many lines end here.
pub(super) fn newlines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

impl Cut {
    /// The end of the last whole line, record or element.
    fn last(self, bytes: &[u8], is_begun: bool) -> Option<usize> {
        match self {
            Self::Elements => json::last_element(bytes, is_begun),
            Self::Records(delimiter) if memchr::memchr(b'"', bytes).is_some() => last_record(bytes, delimiter),
            Self::Lines | Self::Records(_) => memchr::memrchr(b'\n', bytes).map(|at| at + 1),
        }
    }
}

/// The end of the last record, where cells may have quotes and breaks within them.
fn last_record(bytes: &[u8], delimiter: u8) -> Option<usize> {
    let mut end = None;
    let mut at = 0;
    // Each round reads a cell, from its first byte.
    while at < bytes.len() {
        if bytes[at] == b'"' {
            at += 1;
            loop {
                let Some(quote) = memchr::memchr(b'"', &bytes[at..]) else { return end };
                at += quote + 1;
                match bytes.get(at) {
                    Some(b'"') => at += 1,
                    Some(_) => break,
                    None => return end,
                }
            }
        }
        at += memchr::memchr3(delimiter, b'\n', b'\r', &bytes[at..]).unwrap_or(bytes.len() - at) + 1;
        if bytes.get(at - 1) == Some(&b'\n') {
            end = Some(at);
        }
    }
    end
}

/// Works on all chunks, each with a part of its own, and takes the parts in order. Ends with the first that is broken.
pub(super) fn each<P: Send>(
    chunks: &mut Chunks,
    first: Option<Chunk>,
    part: &(dyn Fn() -> P + Sync),
    work: &(dyn Fn(&Chunk, &mut P) -> Result<Seen, Broken> + Sync),
    take: &mut (dyn FnMut(P) + Send),
) -> Result<Seen, Broken> {
    let width = rayon::current_num_threads() * 2;
    let mut seen = Seen::default();
    let (mut ready, mut ended) = match first {
        Some(first) => (vec![first], Ok(())),
        None => chunks.batch(width),
    };
    let mut done: Vec<(P, Result<Seen, Broken>)> = Vec::new();
    loop {
        let worked = |chunk: Chunk| {
            let mut part = part();
            let result = work(&chunk, &mut part);
            (part, result, chunk.buffer)
        };
        let batch = std::mem::take(&mut ready);
        let is_over = batch.is_empty();
        let (fresh, taken) = rayon::join(
            || batch.into_par_iter().map(worked).collect::<Vec<_>>(),
            || {
                for (part, result) in done.drain(..) {
                    take(part);
                    seen.add(&result?);
                }
                Ok::<_, Broken>(if is_over || ended.is_err() { None } else { Some(chunks.batch(width)) })
            },
        );
        if let Some(next) = taken? {
            (ready, ended) = next;
        }
        for (part, result, buffer) in fresh {
            done.push((part, result));
            chunks.spare.push(buffer);
        }
        if is_over {
            return ended.map(|()| seen);
        }
    }
}
