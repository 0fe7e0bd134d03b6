//! Who runs: from the options, else from the CI system, else from the machine.

use super::args::OriginArgs;
use crate::ledger::records::Origin;
use crate::mask::masked;

/// Looks up a variable.
type Env<'e> = &'e dyn Fn(&str) -> Option<String>;

/// The origin of a run. It is kept in the ledger, so a secret in it is masked.
pub(super) fn origin(args: &OriginArgs, env: Env<'_>) -> Origin {
    let ci = github(env).or_else(|| gitlab(env));
    let (ci_actor, ci_reference) = ci.map_or((None, None), |(actor, reference)| (actor, Some(reference)));
    let user = || env("USER").or_else(|| env("LOGNAME")).unwrap_or_else(|| "unknown".to_owned());
    let kept = |text: String| masked(&text).into_owned();
    Origin {
        actor: kept(args.actor.clone().or(ci_actor).unwrap_or_else(|| format!("{}@{}", user(), crate::host::name()))),
        reason: args.reason.clone().map(kept),
        reference: args.reference.clone().or(ci_reference).map(kept),
    }
}

/// The origin of a run of this process.
pub(super) fn of_process(args: &OriginArgs) -> Origin {
    origin(args, &|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
}

/// The actor, and commit and run.
type Ci = (Option<String>, String);

fn github(env: Env<'_>) -> Option<Ci> {
    env("GITHUB_ACTIONS").filter(|value| value == "true")?;
    let (server, repository) = (env("GITHUB_SERVER_URL")?, env("GITHUB_REPOSITORY")?);
    let reference = format!("{} {server}/{repository}/actions/runs/{}", env("GITHUB_SHA")?, env("GITHUB_RUN_ID")?);
    Some((env("GITHUB_ACTOR"), reference))
}

fn gitlab(env: Env<'_>) -> Option<Ci> {
    env("GITLAB_CI").filter(|value| value == "true")?;
    let url = env("CI_JOB_URL").or_else(|| env("CI_PIPELINE_URL"))?;
    Some((env("GITLAB_USER_LOGIN"), format!("{} {url}", env("CI_COMMIT_SHA")?)))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;

    fn from(pairs: &[(&str, &str)], actor: Option<&str>) -> Origin {
        let env: HashMap<String, String> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let actor = actor.map(str::to_owned);
        let args = OriginArgs { actor, reason: None, reference: None, wait_lock: Duration::ZERO };
        origin(&args, &|name| env.get(name).cloned())
    }

    #[test]
    fn options_beat_ci_and_ci_beats_the_machine() {
        let github = [
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_ACTOR", "octo"),
            ("GITHUB_SHA", "abc"),
            ("GITHUB_SERVER_URL", "https://github.com"),
            ("GITHUB_REPOSITORY", "acme/kyc"),
            ("GITHUB_RUN_ID", "7"),
            ("USER", "runner"),
        ];
        let run = from(&github, None);
        assert_eq!(run.actor, "octo");
        assert_eq!(run.reference.as_deref(), Some("abc https://github.com/acme/kyc/actions/runs/7"));
        assert_eq!(from(&github, Some("ann")).actor, "ann");
        let gitlab = [("GITLAB_CI", "true"), ("GITLAB_USER_LOGIN", "eva"), ("CI_COMMIT_SHA", "d"), ("CI_JOB_URL", "u")];
        assert_eq!(from(&gitlab, None).reference.as_deref(), Some("d u"));
        assert!(from(&[("USER", "ben")], None).actor.starts_with("ben@"));
    }
}
