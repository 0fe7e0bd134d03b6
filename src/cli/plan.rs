//! `plan` and `validate`: read everything, send nothing, change nothing.

use jiff::Timestamp;

use super::args::{Global, PlanArgs, ValidateArgs};
use super::{Failure, setup, up_to_date, view};
use crate::console::Console;
use crate::exit::{Condition, Exit};
use crate::plan::{self, Past as _};
use crate::report::{LedgerRef, PlanDocument, ValidateDocument, file, markdown, text};

pub(super) fn validate(args: &ValidateArgs, global: &Global, console: &Console) -> Result<Exit, Failure> {
    let manifests = setup::load(&args.manifests.manifests, global, console)?;
    let exit = Exit::ok();
    if args.json.json {
        console.json(&ValidateDocument::new(&manifests, &exit));
    } else {
        for manifest in &manifests.manifests {
            let path = crate::text::inert(&manifest.path);
            console.out(&format!("{path}: {} is valid, {} entries\n", manifest.name, manifest.entries.len()));
        }
    }
    Ok(exit)
}

pub(super) fn run(args: &PlanArgs, global: &Global, console: &Console) -> Result<Exit, Failure> {
    if let Some(shown) = up_to_date::find(args, global, console.style()) {
        console.out(&shown);
        return Ok(Exit::ok());
    }
    let manifests = setup::load(&args.manifests.manifests, global, console)?;
    let past = setup::past(global)?;
    let now = Timestamp::now();
    let plan = plan::plan(&manifests, &past, now, false)?;
    let mut exit = Exit::ok();
    exit.add_if(args.detailed_exitcode && plan.pending() > 0, Condition::ChangesPending);
    if let Some(path) = &args.out {
        let ledger = LedgerRef::new(past.identity());
        let document = PlanDocument::new(&manifests, &plan, Some(ledger), &exit);
        file::write_json_whole(path, &document).map_err(|error| Failure::unwritable(path, &error))?;
    }
    for report in &args.reports {
        view::write_markdown(&report.path, |budget| markdown::plan(&manifests, &plan, now, budget))
            .map_err(|error| Failure::unwritable(&report.path, &error))?;
    }
    if args.json.json {
        console.json(&PlanDocument::new(&manifests, &plan, None, &exit));
    } else {
        console.out(&text::plan(&manifests, &plan, now, console.style()));
    }
    Ok(exit)
}
