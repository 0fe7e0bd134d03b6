//! Which entries of a plan a run sends.

use std::collections::HashSet;

use super::Apply;
use crate::plan::Action;

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
        let items = &work.plan.items;
        let wanted = &work.options.only;
        let only: Option<HashSet<usize>> = (!wanted.is_empty())
            .then(|| (0..items.len()).filter(|i| wanted.iter().any(|name| items[*i].is_named(name))).collect());
        let is_in = |index: &usize| only.as_ref().is_none_or(|only| only.contains(index));
        let mut jobs: Vec<usize> = (0..items.len()).filter(|i| items[*i].action.is_pending()).filter(is_in).collect();
        jobs.sort_by_key(|i| (items[*i].expires_at.is_none(), items[*i].expires_at, *i));
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
                let item = &work.plan.items[**index];
                let here = item.entry.is_some_and(|(of, _)| of == m) || work.options.max_trusted.is_some();
                here && item.trust_review == Some(true) && item.action != Action::Recover
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
