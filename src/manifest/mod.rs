//! Manifests: desired state, from YAML and source files to plain entries.

mod diagnostic;
mod model;

pub use diagnostic::{Diagnostic, Severity, Snippet};
pub use model::{
    Application, Entry, Invalid, Limits, Manifest, Manifests, MaxFailures, Place, SecretRef, TokenSource,
    WorkflowChoice,
};
