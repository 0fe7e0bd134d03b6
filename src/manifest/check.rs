//! What only shows once everything is there: what has to be unique over all manifests, and what deserves a warning.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use rayon::prelude::*;

use super::code::Code;
use super::decode::{listed, truncated};
use super::draft::{Field, MintSpec, Raw};
use super::finish::Item;
use super::keys;
use super::load::Loaded;
use super::sink::{At, Sink};

/// What minting needs: partners that exist and are others than we, and an application to mint for.
pub(super) fn partners(raw: &Raw, sink: &mut Sink) {
    let mints = || {
        let entries = raw.mints.iter().map(|(at, mint)| (*at, mint));
        entries.chain(raw.sources.iter().map(|source| (source.files.at, &source.mint)))
    };
    let named = || mints().filter_map(|(_, mint)| Some(&mint.good()?.partner));
    named().for_each(|partner| known(raw, partner, sink));
    let is_known = |name: &String| raw.partners.iter().any(|partner| partner.name == *name);
    // One that is not known may be meant for any of them.
    let all_known = mints()
        .all(|(_, mint)| mint.is_absent() || mint.good().is_some_and(|mint| mint.partner.good().is_some_and(is_known)));
    for partner in &raw.partners {
        if all_known && !named().any(|name| name.good() == Some(&partner.name)) {
            let message = format!("nothing is minted by the partner `{}`", partner.name);
            sink.warning(Code::UnusedPartner, partner.at, message, "drop it, or correct the `partner` of a `mint`");
        }
        if let Field::Good(key, at) = &partner.api_key
            && *key == raw.application.api_key
        {
            let message = format!("the key of `{}` is that of the receiving application", partner.name);
            let help = "name the key of the source application: Didit refuses to share a session with its own";
            sink.error(Code::SelfPartner, *at, message, help);
        }
    }
    let first = mints().find(|(_, mint): &(At, &Field<MintSpec>)| !mint.is_absent());
    if let (Some((at, _)), None) = (first, raw.application.id_at) {
        let help = "write `application: {id: UUID}`: Didit's console shows it under Settings, Application";
        sink.error(Code::MissingApplicationId, at, "`mint` needs `application.id`, for which tokens are minted", help);
    }
}

fn known(raw: &Raw, partner: &Field<String>, sink: &mut Sink) {
    let Field::Good(name, at) = partner else { return };
    let names: Vec<&str> = raw.partners.iter().map(|partner| partner.name.as_str()).collect();
    if names.contains(&name.as_str()) {
        return;
    }
    let shown = truncated(name);
    let help = match (keys::likely(name, &names), names.as_slice()) {
        (Some(likely), _) => format!("did you mean `{likely}`?"),
        (None, []) => "write `partners: {bank: {api_key: {env: NAME}}}` into the manifest".to_owned(),
        (None, names) => format!("the partners are {}", listed(names)),
    };
    sink.error(Code::UnknownPartner, *at, format!("there is no partner `{shown}` in `partners`"), help);
}

/// Names, ids and source sessions are unique over all manifests: the later of two is an error.
pub(super) fn unique(loaded: &[Loaded], sink: &mut Sink) {
    let (mut names, mut ids, mut sessions) = (HashMap::new(), HashMap::new(), HashMap::new());
    // Nearly always nothing stands twice, which hashes alone tell; which of two is the later takes more.
    let items = || loaded.par_iter().flat_map(|manifest| &manifest.items);
    let hasher = RandomState::new();
    let is_doubtful = stands_twice(items().map(|item| hasher.hash_one(item.entry.label())))
        || loaded.len() > 1
            && stands_twice(items().filter_map(|item| Some(hasher.hash_one(item.entry.source_session_id?))));
    for (number, manifest) in loaded.iter().enumerate() {
        if let Some(name) = manifest.raw.name.good()
            && let Some(first) = earlier(&mut names, name, manifest.raw.name_at())
        {
            let message = format!("the name `{name}` is taken by the manifest at {}", sink.place(first));
            sink.error(Code::DuplicateName, manifest.raw.name_at(), message, "give each manifest its own name");
        }
        for item in manifest.items.iter().filter(|_| is_doubtful) {
            let (at, label) = (item.id_at(), item.entry.label());
            if let Some(first) = earlier(&mut ids, label, at) {
                let message = format!("the id `{label}` is taken by the entry at {}", sink.place(first));
                sink.error(Code::DuplicateId, at, message, "give each entry its own `id`, or leave `id` out");
            }
            let Some(session) = item.entry.source_session_id else { continue };
            match earlier(&mut sessions, session, (item.at, number)) {
                // Within one manifest, gathering has told it.
                Some((first, other)) if other != number => {
                    let message = format!("session {session} is imported twice, first at {}", sink.place(first));
                    sink.error(Code::DuplicateSession, item.at, message, "keep one of the two entries");
                }
                _ => {}
            }
        }
    }
}

fn stands_twice(hashes: impl ParallelIterator<Item = u64>) -> bool {
    let mut hashes: Vec<u64> = hashes.collect();
    hashes.par_sort_unstable();
    hashes.par_windows(2).any(|pair| pair[0] == pair[1])
}

/// Notes a place, or gives the one noted before.
fn earlier<K: std::hash::Hash + Eq, V: Copy>(places: &mut HashMap<K, V>, key: K, at: V) -> Option<V> {
    match places.entry(key) {
        std::collections::hash_map::Entry::Occupied(first) => Some(*first.get()),
        std::collections::hash_map::Entry::Vacant(free) => {
            free.insert(at);
            None
        }
    }
}

/// Warns once of entries without a `vendor_data` that is theirs alone.
pub(super) fn vendor_data(raw: &Raw, items: &[Item], sink: &mut Sink) {
    let keyed = RandomState::new();
    // A text is known by its hash here, under a key that nobody knows.
    let hash = |text: &mut String, item: &Item| {
        text.clear();
        item.entry.vendor_into(text).then(|| keyed.hash_one(text.as_str()))
    };
    let hashes: Vec<Option<u64>> = items.par_iter().map_init(String::new, hash).collect();
    let mut sorted: Vec<u64> = hashes.par_iter().filter_map(|hash| *hash).collect();
    sorted.par_sort_unstable();
    let is_twice = |hash: u64| {
        let at = sorted.partition_point(|other| *other < hash);
        sorted.get(at + 1) == Some(&hash)
    };
    let any_twice = sorted.par_windows(2).any(|pair| pair[0] == pair[1]);
    let sent = || items.iter().zip(&hashes).filter(|(item, _)| item.entry.workflow().is_some());
    let own = |(_, hash): &(&Item, &Option<u64>)| hash.is_some_and(|hash| !any_twice || !is_twice(hash));
    let count = sent().filter(|item| !own(item)).count();
    let Some((first, _)) = sent().find(|item| !own(item)) else { return };
    let at: At = if first.at.file == raw.file { first.at } else { raw.name_at() };
    let message = match count {
        1 => "1 entry has no `vendor_data` of its own: a lost answer is harder to trace".to_owned(),
        n => format!("{n} entries have no `vendor_data` of their own: a lost answer is harder to trace"),
    };
    sink.warning(Code::NoVendorData, at, message, "write `vendor_data: \"acme-{source_session_id}\"` into `defaults`");
}
