//! `doctor`: gathers what is to be looked at, and shows what was found.

use std::collections::HashMap;

use jiff::Timestamp;

use super::args::{Cli, DoctorArgs, Global};
use super::setup::Receiver;
use super::{Failure, audit, setup};
use crate::console::Console;
use crate::doctor::application::{Role, Trouble, own_partners};
use crate::doctor::{Application, Check, Diagnosis, ledger, surroundings, work};
use crate::exit::{Condition, Exit};
use crate::ledger::records::{Identity, ManifestFacts};
use crate::ledger::{Reader, examine};
use crate::manifest::{self, API_KEY, Diagnostic, Limits, Manifest, Manifests};
use crate::plan::{self, Past as _};
use crate::report::doctor::{DoctorDocument, doctor};

pub(super) async fn run(args: &DoctorArgs, global: &Global, console: &Console) -> Result<Exit, Failure> {
    let mut diagnosis = Diagnosis::default();
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    let manifests = if args.manifests.is_empty() {
        None
    } else {
        match setup::load(&args.manifests, global, console) {
            Ok(manifests) => Some(manifests),
            Err(failure) => {
                let help = super::failure::EXPLAINED;
                diagnosis.checks.push(Check::error("manifest", None, Condition::Manifest, &failure.message, help));
                diagnostics = failure.diagnostics;
                for diagnostic in &diagnostics {
                    super::failure::say_diagnostic(diagnostic, console);
                }
                None
            }
        }
    };
    diagnosis.checks.extend(manifests.iter().flat_map(|manifests| work::manifests(manifests)));
    let path = global.ledger.display().to_string();
    diagnosis.checks.extend(ledger::checks(&path, &examine(&setup::location(global)?)));
    // What is wrong with the ledger is told above.
    let past = setup::past(global).unwrap_or_default();
    let (wanted, untold) = wanted(manifests.as_deref(), &args.manifests, global);
    diagnosis.checks.extend(untold);
    let mut applications = Vec::new();
    for wanted in merged(wanted) {
        applications.push(application(wanted, past.identity(), global).await);
    }
    for application in &applications {
        diagnosis.checks.extend(application.examine().await);
    }
    diagnosis.checks.extend(own_partners(&applications));
    if let Some(manifests) = &manifests {
        let now = Timestamp::now();
        if let Ok(plan) = plan::plan(manifests, &past, now, false) {
            diagnosis.checks.push(work::tokens(&plan, now));
        }
        diagnosis.checks.extend(work::programs(manifests, global.allow_exec, std::env::var_os("PATH").as_deref()));
    }
    let set: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
    let known: Vec<String> = Cli::twins().into_keys().collect();
    diagnosis.checks.extend(surroundings::variables(&set, &known));
    diagnosis.checks.push(surroundings::terminal(console.can_ask()));
    let exit = diagnosis.exit();
    if args.json.json {
        console.json(&DoctorDocument::new(&diagnosis, &diagnostics, &exit));
    } else {
        console.out(&doctor(&diagnosis, console.style().color));
    }
    Ok(exit)
}

/// An application to be asked, and whose it is.
struct Wanted {
    subject: String,
    receiver: Receiver,
    role: Role,
}

/// The applications of the manifests; without any given, those that the ledger remembers; without these, the one of the
/// usual variable, if that is set. What can't be asked, for lack of usable facts, is a check already.
fn wanted(manifests: Option<&Manifests>, given: &[String], global: &Global) -> (Vec<Wanted>, Vec<Check>) {
    let (mut wanted, mut checks) = (Vec::new(), Vec::new());
    if let Some(manifests) = manifests {
        manifests.manifests.iter().for_each(|manifest| wanted.extend(of_manifest(manifest)));
    }
    // A manifest that can't be read is no reason to ask applications that nobody spoke of.
    if !given.is_empty() {
        return (wanted, checks);
    }
    for (name, facts) in remembered(global) {
        match audit::receiver(&name, &HashMap::from([(name.clone(), facts)]), None, global) {
            Ok(receiver) => {
                let role = Role::Receiver { workflows: Vec::new() };
                wanted.push(Wanted { subject: name, receiver, role });
            }
            Err(failure) => {
                let condition = failure.exit.conditions().next().unwrap_or(Condition::Internal);
                let help = failure.help.unwrap_or_default();
                checks.push(Check::error("base-url", Some(&name), condition, &failure.message, &help));
            }
        }
    }
    if wanted.is_empty() && checks.is_empty() {
        if std::env::var_os(API_KEY).is_some_and(|value| !value.is_empty()) {
            let receiver = Receiver::at(&manifest::Application::default(), Limits::default());
            let role = Role::Receiver { workflows: Vec::new() };
            wanted.push(Wanted { subject: API_KEY.to_owned(), receiver, role });
        } else {
            let why = format!("no manifest is given, the ledger knows none, and {API_KEY} is not set");
            checks.push(Check::skipped("key", None, &why));
        }
    }
    (wanted, checks)
}

/// What the ledger keeps of the last applies, by the manifests' names.
fn remembered(global: &Global) -> Vec<(String, ManifestFacts)> {
    let reader = setup::location(global).and_then(|location| Reader::open(&location)).ok().flatten();
    let facts = reader.and_then(|reader| reader.manifests().ok());
    let mut facts: Vec<_> = facts.unwrap_or_default().into_iter().map(|facts| (facts.name.clone(), facts)).collect();
    facts.sort_by(|a, b| a.0.cmp(&b.0));
    facts
}

/// The receiving application of a manifest, and those of its partners.
fn of_manifest(manifest: &Manifest) -> Vec<Wanted> {
    let mut workflows = Vec::new();
    for entry in &manifest.entries {
        let choice = entry.workflow().map(|choice| (choice, entry.session_kind));
        workflows.extend(choice.filter(|choice| !workflows.contains(choice)));
    }
    let role = Role::Receiver { workflows };
    let own = Wanted { subject: manifest.name.clone(), receiver: Receiver::of(manifest), role };
    let partners = manifest.partners.iter().map(|partner| Wanted {
        subject: format!("partner {} of {}", partner.name, manifest.name),
        receiver: Receiver { api_key: partner.api_key.clone(), application_id: None, ..Receiver::of(manifest) },
        role: Role::Partner,
    });
    [own].into_iter().chain(partners).collect()
}

/// Those that are reached with one key at one place are one.
fn merged(wanted: Vec<Wanted>) -> Vec<Wanted> {
    let mut merged: Vec<Wanted> = Vec::new();
    for next in wanted {
        let is_same = |known: &&mut Wanted| {
            known.receiver.base_url == next.receiver.base_url && known.receiver.api_key == next.receiver.api_key
        };
        match (merged.iter_mut().find(is_same), &next.role) {
            (Some(known), Role::Receiver { workflows: more }) => {
                if let Role::Receiver { workflows } = &mut known.role {
                    workflows.extend(more);
                    known.subject = format!("{}, {}", known.subject, next.subject);
                    known.receiver.limits = known.receiver.limits.narrowest(&next.receiver.limits);
                } else {
                    merged.push(next);
                }
            }
            (Some(known), Role::Partner) if matches!(known.role, Role::Partner) => {
                known.subject = format!("{}, {}", known.subject, next.subject);
            }
            (_, _) => merged.push(next),
        }
    }
    merged
}

/// One application, with its key read.
async fn application(wanted: Wanted, identity: Option<&Identity>, global: &Global) -> Application {
    let Wanted { subject, receiver, role } = wanted;
    let trouble = |failure: Failure| Trouble { message: failure.message, help: failure.help.unwrap_or_default() };
    let key = setup::read_key(&receiver.api_key, global, receiver.limits.timeout).await.map_err(trouble);
    Application {
        subject,
        allowed: setup::check_host(&receiver.base_url, global).map_err(trouble),
        reference: receiver.api_key.describe(),
        fingerprint: key.as_ref().ok().zip(identity).map(|(key, identity)| key.fingerprint(&identity.key)),
        key,
        base_url: receiver.base_url,
        limits: receiver.limits,
        role,
    }
}
