//! `--plan`: a saved plan that a run is to carry out, and why it may not.

use crate::token::Fingerprint;

/// A saved plan that a run is to carry out.
#[derive(Clone, Debug)]
pub struct Reviewed {
    /// Of the file's bytes, under the ledger's key.
    pub digest: Fingerprint,
    /// Why it may not be carried out, if it may not.
    pub refused: Option<Refusal>,
}

/// Why a saved plan is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What is said.
    pub told: String,
    /// What is kept with the run: it names no entry, which may be erased later.
    pub kept: String,
}
