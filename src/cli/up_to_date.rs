//! A plan of what has not changed since it was found up to date: told from the digests of its files, of which no entry is
//! made again.
//!
//! `apply` notes what it leaves with nothing to do, where the run's own outcomes tell it. `plan` looks for that first, where
//! only the counts are asked for. Any file that differs, comes or goes, and any run that may have changed an entry, has
//! everything read again.

use std::sync::Arc;
use std::thread;

use serde::{Deserialize, Serialize};

use super::args::{Global, PlanArgs};
use super::setup;
use crate::console::Style;
use crate::ledger::records::RunId;
use crate::ledger::{Ledger, LedgerError, Reader};
use crate::manifest::{Inputs, LoadOptions, Manifests};
use crate::report::text::{self, Heading};
use crate::token::{Fingerprint, FingerprintKey};

/// What is noted in the ledger.
#[derive(Serialize, Deserialize)]
struct Note {
    files: Inputs,
    /// How many bytes they hold: where that differs, nothing need be digested.
    size: u64,
    digest: String,
    /// How many entries of the ledger were imported.
    imported: u64,
    manifests: Vec<Heading>,
}

/// The plan as it is shown, if it is the one that was noted. Whatever can't be read of the note or of its files is met, and
/// told, where everything is read.
pub(super) fn find(args: &PlanArgs, global: &Global, style: Style) -> Option<String> {
    // What else is shown is told of each entry.
    if args.json.json || args.out.is_some() || !args.reports.is_empty() || style.verbose > 0 {
        return None;
    }
    let paths = &args.manifests.manifests;
    let reader = Reader::open(&setup::location(global).ok()?).ok()??;
    let key = reader.identity().ok()?.key;
    let found = reader.up_to_date(noted_as(paths, &key)).ok()??;
    let options = setup::options(global);
    // What an older program noted may be of another form.
    let note: Note = serde_json::from_str(&found).ok()?;
    let (imported, is_still_so) = thread::scope(|scope| {
        let digested = scope.spawn(|| note.is_still_so(paths, &options));
        let imported = reader.imported();
        (imported, digested.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let is_told = is_still_so && imported.is_ok_and(|imported| imported == note.imported);
    is_told.then(|| text::up_to_date(&note.manifests, style))
}

impl Note {
    fn is_still_so(&self, paths: &[String], options: &LoadOptions) -> bool {
        self.files.are_of(paths)
            && self.files.size(options) == Some(self.size)
            && self.files.digest_now(options).as_ref() == Some(&self.digest)
    }
}

/// What manifests that were loaded need to be noted, once nothing is left to do.
pub(super) struct Candidate {
    paths: Vec<String>,
    options: LoadOptions,
    manifests: Arc<Manifests>,
    /// How many entries were imported, and which generation the ledger had.
    before: (u64, u64),
}

impl Candidate {
    /// `None` where more than counts is to be said of them, or files alone don't decide what comes of them.
    pub(super) fn new(paths: &[String], options: LoadOptions, manifests: &Arc<Manifests>) -> Option<Self> {
        let has_unused = manifests.manifests.iter().any(|manifest| manifest.unused_tokens > 0);
        if !manifests.warnings.is_empty() || has_unused {
            return None;
        }
        Some(Self { paths: paths.to_vec(), options, manifests: Arc::clone(manifests), before: (0, 0) })
    }

    /// Looks at the ledger, before a plan does: what another run imports from here on is not in the note's count, so that
    /// it is not found.
    pub(super) async fn look(&mut self, ledger: &Ledger) -> Result<(), LedgerError> {
        self.before = ledger.imported().await?;
        Ok(())
    }

    /// Notes them as a run leaves them that has nothing left to do, and has imported so many.
    pub(super) async fn note(self, ledger: &Ledger, run: RunId, imported: u64) -> Result<(), LedgerError> {
        let Self { paths, options, manifests, before: (imported_before, generation) } = self;
        let Some(files) = Inputs::of(&manifests) else { return Ok(()) };
        let (Some(digest), Some(size)) = (files.digest_loaded(&options), files.size(&options)) else { return Ok(()) };
        let imported = imported_before + imported;
        let headings = manifests.manifests.iter().map(Heading::from).collect();
        let note = Note { files, size, digest, imported, manifests: headings };
        let Ok(found) = serde_json::to_string(&note) else { return Ok(()) };
        ledger.note_up_to_date(noted_as(&paths, &ledger.identity().key), (generation, run), found).await
    }
}

/// By what a note is found.
fn noted_as(paths: &[String], key: &FingerprintKey) -> Fingerprint {
    let paths: Vec<u8> = paths.iter().flat_map(|path| [path.as_bytes(), b"\0"].concat()).collect();
    key.fingerprint(&paths)
}
