//! The keys of manifest version 1, map by map: what the decoder takes, the schema describes, and help lists.

pub(super) const MANIFEST: &[&str] =
    &["version", "name", "application", "defaults", "limits", "imports", "sources", "tokens", "partners"];
pub(super) const APPLICATION: &[&str] = &["id", "base_url", "api_key"];
pub(super) const DEFAULTS: &[&str] = &["workflow_id", "trust_review", "vendor_data", "expect"];
pub(super) const LIMITS: &[&str] =
    &["writes_per_minute", "reads_per_minute", "concurrency", "timeout", "max_failures", "max_trusted"];
pub(super) const ENTRY: &[&str] =
    &["share_token", "source_session_id", "id", "workflow_id", "trust_review", "vendor_data", "expect", "mint"];
pub(super) const SOURCE: &[&str] =
    &["file", "columns", "workflow_id", "trust_review", "vendor_data", "on_duplicate", "on_invalid", "expect", "mint"];
pub(super) const COLUMNS: &[&str] =
    &["share_token", "source_session_id", "id", "workflow_id", "trust_review", "vendor_data", "session_id"];
pub(super) const TOKENS: &[&str] = &["file", "columns", "on_duplicate", "on_invalid"];
pub(super) const TOKEN_COLUMNS: &[&str] = &["share_token"];
pub(super) const WORKFLOW: &[&str] = &["user", "business"];
pub(super) const PARTNER: &[&str] = &["api_key", "writes_per_minute"];
pub(super) const MINT: &[&str] = &["partner", "session_id", "ttl"];
pub(super) const SOURCE_MINT: &[&str] = &["partner", "ttl"];
pub(super) const RULE: &[&str] = &["name", "rule", "severity"];
pub(super) const REFERENCE: &[&str] = &["env", "file", "exec"];

/// The known key that a misspelt one is likely meant to be.
pub(super) fn likely<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let key = key.to_ascii_lowercase().replace('-', "_");
    let distance = |name: &str| strsim::damerau_levenshtein(&key, name);
    let best = known.iter().copied().min_by_key(|name| distance(name))?;
    let prefix = known.iter().copied().find(|name| key.len() >= 3 && name.starts_with(&key));
    (distance(best) <= 1 + best.len() / 4).then_some(best).or(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misspelt_keys_find_their_likely_meaning() {
        assert_eq!(likely("trust_revew", ENTRY), Some("trust_review"));
        assert_eq!(likely("trustReview", ENTRY), Some("trust_review"));
        assert_eq!(likely("workflow", ENTRY), Some("workflow_id"));
        assert_eq!(likely("vendor-data", ENTRY), Some("vendor_data"));
        assert_eq!(likely("nmae", MANIFEST), Some("name"));
        assert_eq!(likely("import", MANIFEST), Some("imports"));
        assert_eq!(likely("callback_url", ENTRY), None);
    }
}
