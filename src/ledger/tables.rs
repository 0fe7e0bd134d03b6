//! What a ledger consists of, table by table, the same in a file and on a server.
//!
//! Written once for all that has to see every row: copies from one database to another, and checks where the database
//! itself offers none.

/// A table.
#[derive(Debug)]
pub(super) struct Table {
    /// Its name.
    pub(super) name: &'static str,
    /// The columns that tell a row, in the order in which rows are read.
    pub(super) key: &'static [&'static str],
    /// All columns.
    pub(super) columns: &'static [&'static str],
    /// Columns that name a row of another table: the column, the table and the column there.
    pub(super) parents: &'static [Parent],
}

/// A column, and the table and column of what it names.
pub(super) type Parent = (&'static str, &'static str, &'static str);

impl Table {
    /// Whether the database numbers its rows.
    pub(super) fn is_numbered(&self) -> bool {
        matches!(self.key, ["id"]) && self.name != META
    }
}

/// The table that makes a database a ledger: it holds the identity.
pub(super) const META: &str = "meta";

const OF_RUN: Parent = ("run", "runs", "id");
const OF_ENTRY: Parent = ("entry", "entries", "id");

/// All of them, each after those that its rows belong to. Left out is what counts for a moment only, among processes that
/// share a server (`runners`, `claims`, `budgets`), and the version of a server's tables.
pub(super) const TABLES: [Table; 21] = [
    Table {
        name: META,
        key: &["id"],
        columns: &["id", "ledger_id", "generation", "fingerprint_key", "created_at"],
        parents: &[],
    },
    Table {
        name: "runs",
        key: &["id"],
        columns: &["id", "command", "started_at", "actor", "reason", "ref", "host", "pid", "version"],
        parents: &[],
    },
    Table {
        name: "run_ends",
        key: &["run"],
        columns: &[
            "run",
            "ended_at",
            "seconds",
            "writes",
            "reads",
            "throttled",
            "sessions",
            "checked",
            "error",
            "conditions",
        ],
        parents: &[OF_RUN],
    },
    Table {
        name: "manifests",
        key: &["name"],
        columns: &["name", "path", "digest", "application_id", "base_url", "api_key", "limits", "expect", "run"],
        parents: &[OF_RUN],
    },
    Table {
        name: "entries",
        key: &["id"],
        columns: &[
            "id",
            "manifest",
            "label",
            "application_id",
            "base_url",
            "key",
            "source_session_id",
            "source_hash",
            "token",
            "from_application_id",
            "session_kind",
            "state",
            "workflow_id",
            "trust_review",
            "vendor_data",
            "attempts",
            "first_sent_at",
            "session_id",
            "session_number",
            "session_url",
            "status",
            "imported_at",
            "error_class",
            "error_status",
            "error_detail",
            "place",
            "run",
            "audited_at",
        ],
        parents: &[OF_RUN],
    },
    Table {
        name: "attempts",
        key: &["id"],
        columns: &[
            "id",
            "entry",
            "run",
            "number",
            "sent_at",
            "left_at",
            "token",
            "token_expires_at",
            "workflow_id",
            "trust_review",
            "vendor_data",
        ],
        parents: &[OF_ENTRY, OF_RUN],
    },
    Table {
        name: "answers",
        key: &["attempt"],
        columns: &["attempt", "answered_at", "outcome", "http_status", "class", "detail", "session_id"],
        parents: &[("attempt", "attempts", "id")],
    },
    Table {
        name: "evidence",
        key: &["id"],
        columns: &["id", "entry", "run", "at", "verdict", "session_id", "detail"],
        parents: &[OF_ENTRY, OF_RUN],
    },
    Table {
        name: "run_outcomes",
        key: &["run", "label", "manifest"],
        columns: &[
            "run",
            "label",
            "manifest",
            "entry",
            "outcome",
            "source_session_id",
            "session_id",
            "session_number",
            "session_url",
            "session_kind",
            "status",
            "workflow_id",
            "vendor_data",
            "attempts",
            "error_class",
            "error_status",
            "error_detail",
            "from_application_id",
            "for_application_id",
            "expires_at",
        ],
        parents: &[OF_RUN, OF_ENTRY],
    },
    Table {
        name: "repeated_outcomes",
        key: &["run"],
        columns: &["run", "told_by"],
        parents: &[OF_RUN, ("told_by", "runs", "id")],
    },
    Table {
        name: "run_states",
        key: &["run", "manifest", "state"],
        columns: &["run", "manifest", "state", "entries"],
        parents: &[OF_RUN],
    },
    Table {
        name: "run_limits",
        key: &["run", "manifest"],
        columns: &["run", "manifest", "writes_per_minute"],
        parents: &[OF_RUN],
    },
    Table { name: "sends", key: &["id"], columns: &["id", "key", "budget", "requests", "until"], parents: &[] },
    Table { name: "up_to_date", key: &["inputs"], columns: &["inputs", "generation", "found"], parents: &[] },
    Table { name: "generations", key: &["generation"], columns: &["generation", "run"], parents: &[OF_RUN] },
    Table { name: "plans", key: &["run"], columns: &["run", "digest"], parents: &[OF_RUN] },
    Table { name: "rule_lists", key: &["id"], columns: &["id", "rules"], parents: &[] },
    Table {
        name: "entry_rules",
        key: &["manifest", "entry"],
        columns: &["manifest", "entry", "rules"],
        parents: &[("rules", "rule_lists", "id")],
    },
    Table {
        name: "baselines",
        key: &["entry"],
        columns: &["entry", "run", "at", "session_id", "facts"],
        parents: &[OF_ENTRY, OF_RUN],
    },
    Table {
        name: "findings",
        key: &["id"],
        columns: &["id", "entry", "rule", "first_seen", "closed_at", "block"],
        parents: &[OF_ENTRY],
    },
    Table {
        name: "run_findings",
        key: &["run", "entry", "rule", "block"],
        columns: &[
            "run",
            "entry",
            "manifest",
            "label",
            "session_id",
            "rule",
            "block",
            "severity",
            "message",
            "expected",
            "actual",
            "first_seen",
            "new",
        ],
        parents: &[OF_RUN, OF_ENTRY],
    },
];
