//! `apply --plan FILE`: the plan is made anew, held against the file, and refused where it is not what was reviewed.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::Failure;
use crate::exit::Condition;
use crate::ledger::{Ledger, PlanPast, RunRef};
use crate::manifest::Manifests;
use crate::plan::{LedgerFit, Plan, Saved};
use crate::run::{Refusal, Reviewed};
use crate::text::inert;

/// A plan of a million entries is smaller.
const MOST_BYTES: u64 = 1 << 30;
/// How many differences are told.
const TOLD: usize = 5;

/// A saved plan as the file has it.
pub(super) struct SavedPlan {
    path: PathBuf,
    bytes: Vec<u8>,
    saved: Saved,
}

/// Reads a saved plan.
pub(super) fn read(path: &Path) -> Result<SavedPlan, Failure> {
    let cannot = |why: String| {
        Failure::new(Condition::Usage, format!("--plan {}: {why}", inert(&path.display().to_string())))
            .with_help("save a plan with `didit-sync plan MANIFEST... --out FILE`, and give that file")
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| cannot(error.to_string()))?;
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(|error| cannot(error.to_string()))?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(cannot("it is too large to be a plan".to_owned()));
    }
    let saved = Saved::parse(&bytes).map_err(cannot)?;
    Ok(SavedPlan { path: path.to_owned(), bytes, saved })
}

impl SavedPlan {
    /// Whether the plan as it is now may be carried out in its name.
    pub(super) async fn judge(self, ledger: &Ledger, manifests: &Manifests, plan: &Plan) -> Result<Reviewed, Failure> {
        let identity = ledger.identity();
        let digest = identity.key.fingerprint(&self.bytes);
        let past = ledger.plan_past(digest).await?;
        let fit = self.saved.fit(Some(identity));
        Ok(Reviewed { digest, refused: self.refusal(fit, past, manifests, plan) })
    }

    fn refusal(&self, fit: LedgerFit, past: PlanPast, manifests: &Manifests, plan: &Plan) -> Option<Refusal> {
        if let Some(run) = past.used {
            let why = format!("was carried out by {}, and is good for one run", told(&run));
            return Some(self.refuse(&why, &why));
        }
        let mut reasons: Vec<String> = Vec::new();
        match fit {
            LedgerFit::Same => {}
            LedgerFit::Another(id) => reasons.push(format!("it was made for another ledger, {id}")),
            LedgerFit::Changed => {
                let by = past.raised.map_or_else(String::new, |run| format!(", by {}", told(&run)));
                reasons.push(format!("the ledger has changed since{by}"));
            }
        }
        reasons.extend(self.saved.other_manifests(manifests));
        let entries = self.saved.other_entries(plan);
        if reasons.is_empty() && entries.is_empty() {
            return None;
        }
        let mut kept = reasons.clone();
        if !entries.is_empty() {
            kept.push(format!("{} entries are not as planned", entries.len()));
        }
        let more = entries.len().saturating_sub(TOLD);
        reasons.extend(entries.into_iter().take(TOLD));
        if more > 0 {
            reasons.push(format!("and {more} more entries"));
        }
        Some(self.refuse(&format!("is stale: {}", reasons.join("; ")), &format!("is stale: {}", kept.join("; "))))
    }

    fn refuse(&self, told: &str, kept: &str) -> Refusal {
        let path = inert(&self.path.display().to_string());
        let message = |why: &str| format!("the plan {path} {why}. Nothing was sent; plan again, and review that");
        Refusal { told: message(told), kept: message(kept) }
    }
}

/// `run 2 (apply, 2026-11-24T09:00:00Z)`.
fn told(run: &RunRef) -> String {
    let at = run.started_at.round(jiff::Unit::Second).unwrap_or(run.started_at);
    format!("run {} ({}, {at})", run.id.0, run.command)
}
