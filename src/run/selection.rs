//! Which entries of a plan a run sends.

use std::collections::HashSet;

use super::Apply;
use crate::plan::{Action, Item};

/// The items that this run sends.
pub(super) struct Selection {
    /// Indices of items, in order of token expiry.
    pub(super) jobs: Vec<usize>,
    /// Pending items that `--limit` left out.
    pub(super) beyond_limit: u64,
    /// What `--only` leaves in; `None` means all.
    only: Option<HashSet<usize>>,
}

impl Selection {
    /// Those of an apply.
    pub(super) fn new(work: &Apply) -> Self {
        let plan = &work.plan;
        let wanted = &work.options.only;
        let only: Option<HashSet<usize>> =
            (!wanted.is_empty()).then(|| (0..plan.len()).filter(|i| is_named(&plan.item(*i), wanted)).collect());
        let is_in = |index: &usize| only.as_ref().is_none_or(|only| only.contains(index));
        let mut jobs: Vec<usize> = plan.with_pending().filter(is_in).collect();
        jobs.sort_by_cached_key(|i| (plan.expires_at(*i).is_none(), plan.expires_at(*i), *i));
        let limit = work.options.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let beyond_limit = jobs.len().saturating_sub(limit) as u64;
        jobs.truncate(limit);
        Self { jobs, beyond_limit, only }
    }

    /// Whether `--only` leaves an item in.
    pub(super) fn is_in(&self, index: usize) -> bool {
        self.only.as_ref().is_none_or(|only| only.contains(&index))
    }

    /// Why nothing may be sent: `max_trusted`.
    pub(super) fn too_many_trusted(&self, work: &Apply) -> Option<String> {
        for (m, manifest) in work.manifests.manifests.iter().enumerate() {
            let Some(most) = work.options.max_trusted.or(manifest.limits.max_trusted) else { continue };
            let is_trusted = |index: &&usize| {
                let (plan, index) = (&work.plan, **index);
                let here = plan.entry(index).is_some_and(|(of, _)| of == m) || work.options.max_trusted.is_some();
                here && plan.trust_review(index) == Some(true) && plan.action(index) != Action::Recover
            };
            let trusted = self.jobs.iter().filter(is_trusted).count() as u64;
            if trusted > most {
                return Some(format!(
                    "{trusted} new imports would keep the partner's status (trust_review: true), more than max_trusted \
                     {most} allows; nothing was sent"
                ));
            }
        }
        None
    }
}

fn is_named(item: &Item, names: &[String]) -> bool {
    names.iter().any(|name| item.is_named(name))
}
