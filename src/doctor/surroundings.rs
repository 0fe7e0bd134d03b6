//! What the process was started with: variables and terminal. Pure.

use super::Check;

/// What the environment twins' names begin with.
pub const PREFIX: &str = "DIDIT_SYNC_";

/// The variables that are set, of those that `known` has and of those that it lacks. Names only: a value may be a secret
/// in the wrong place.
#[must_use]
pub fn variables(set: &[String], known: &[String]) -> Vec<Check> {
    let name = "variables";
    let (ours, unknown): (Vec<&String>, Vec<&String>) =
        set.iter().filter(|variable| variable.starts_with(PREFIX)).partition(|variable| known.contains(variable));
    let message = match ours.as_slice() {
        [] => "no option is set by the environment".to_owned(),
        ours => {
            let names: Vec<&str> = ours.iter().map(|name| name.as_str()).collect();
            format!("the environment sets {}", names.join(", "))
        }
    };
    let misspelt = unknown.into_iter().map(|variable| {
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let help = likely(variable, &known).map_or_else(
            || "`didit-sync COMMAND --help` names the variables".to_owned(),
            |likely| format!("did you mean {likely}?"),
        );
        Check::warning(name, Some(variable), "it is no option's, and has no effect", &help)
    });
    [Check::ok(name, None, &message)].into_iter().chain(misspelt).collect()
}

/// The one of the known names that is nearest, if it is near.
#[must_use]
pub fn likely<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let distance = |known: &&str| strsim::damerau_levenshtein(name, known);
    known.iter().copied().min_by_key(distance).filter(|best| distance(best) <= 1 + best.len() / 8)
}

/// Whether `apply` can ask.
#[must_use]
pub fn terminal(can_ask: bool) -> Check {
    let message = if can_ask { "apply can ask here" } else { "there is none to ask on: apply needs --yes" };
    Check::ok("terminal", None, message)
}
