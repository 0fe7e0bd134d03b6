//! Reports: what people and programs read. Views of plain data, one small file for each form.
//!
//! Every JSON document has a `format`, an `exit` and fixed keys: a value that isn't there is `null`, never an absent
//! key. Times are RFC 3339 UTC.

pub mod csv;
pub mod doctor;
pub mod document;
pub mod file;
pub mod html;
pub mod json;
pub mod junit;
pub mod kind;
pub mod markdown;
pub mod model;
pub mod outcomes;
pub mod period;
pub mod prometheus;
pub mod remint;
pub mod schema;
#[cfg(test)]
mod tests;
pub mod text;

pub use document::{
    ApplyDocument, AuditDocument, Entries, ErrorDocument, LedgerRef, OUTCOMES, PlanDocument, RunsDocument,
    StatusDocument, StatusEntry, ValidateDocument,
};
pub use kind::{Kind, RenderError};
pub use model::Report;
pub use outcomes::Outcomes;
pub use period::{Period, PeriodDocument};
