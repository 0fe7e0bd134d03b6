-- Version 1. Times are milliseconds since 1970 UTC, ids are lower-case UUIDs, fingerprints are HMAC-SHA-256 under meta.fingerprint_key.
-- runs, attempts, answers and evidence are only ever added; entries is what they amount to. An erasure overwrites what tells of a person.

CREATE TABLE meta (
  id              INTEGER PRIMARY KEY CHECK (id = 1),
  ledger_id       TEXT NOT NULL,
  generation      INTEGER NOT NULL,
  fingerprint_key BLOB NOT NULL,
  created_at      INTEGER NOT NULL
) STRICT;

CREATE TABLE runs (
  id         INTEGER PRIMARY KEY,
  command    TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  actor      TEXT NOT NULL,
  reason     TEXT,
  ref        TEXT,
  host       TEXT NOT NULL,
  pid        INTEGER NOT NULL,
  version    TEXT NOT NULL
) STRICT;

CREATE TABLE run_ends (
  run        INTEGER PRIMARY KEY REFERENCES runs (id),
  ended_at   INTEGER NOT NULL,
  seconds    REAL NOT NULL,
  writes     INTEGER NOT NULL,
  reads      INTEGER NOT NULL,
  throttled  INTEGER NOT NULL,
  sessions   INTEGER,             -- sessions to be verified; NULL where the run verified nothing
  checked    INTEGER NOT NULL,
  error      TEXT,                -- JSON {code, name, message}
  conditions TEXT NOT NULL        -- JSON [exit codes], the first is the exit's
) STRICT;

-- What an audit needs of a manifest's last apply.
CREATE TABLE manifests (
  name           TEXT PRIMARY KEY,
  path           TEXT NOT NULL,
  digest         TEXT NOT NULL,
  application_id TEXT,
  base_url       TEXT NOT NULL,
  api_key        TEXT NOT NULL,   -- JSON, the reference
  limits         TEXT NOT NULL,   -- JSON
  expect         TEXT NOT NULL,   -- JSON
  run            INTEGER NOT NULL REFERENCES runs (id)
) STRICT, WITHOUT ROWID;

CREATE TABLE entries (
  id                  INTEGER PRIMARY KEY,
  manifest            TEXT NOT NULL,
  label               TEXT NOT NULL,
  application_id      TEXT,
  base_url            TEXT NOT NULL,
  key                 BLOB,       -- fingerprint of the API key
  source_session_id   TEXT,
  source_hash         BLOB,       -- all that is left of the source session (or, unknown, of the token) after an erasure
  token               BLOB,       -- fingerprint of the token last sent; after an erasure, a hash of it where its claims could not be read
  from_application_id TEXT,
  session_kind        TEXT,
  state               TEXT NOT NULL CHECK (state IN ('imported', 'refused', 'expired', 'unknown', 'sending', 'erased')),
  workflow_id         TEXT,       -- settings as last sent
  trust_review        INTEGER,
  vendor_data         TEXT,
  attempts            INTEGER NOT NULL,
  first_sent_at       INTEGER,
  session_id          TEXT,
  session_number      INTEGER,
  session_url         TEXT,
  status              TEXT,       -- as the import's own answer, or the reading that found the session, told
  imported_at         INTEGER,
  error_class         TEXT,
  error_status        INTEGER,
  error_detail        TEXT,
  place               TEXT NOT NULL,
  run                 INTEGER NOT NULL REFERENCES runs (id),
  audited_at          INTEGER
) STRICT;
CREATE INDEX entries_by_source ON entries (source_session_id);
CREATE INDEX entries_by_session ON entries (session_id) WHERE session_id IS NOT NULL;
CREATE INDEX entries_by_label ON entries (label);
CREATE INDEX entries_by_vendor_data ON entries (vendor_data) WHERE vendor_data IS NOT NULL;
CREATE INDEX entries_by_token ON entries (token) WHERE token IS NOT NULL;
CREATE INDEX entries_by_state ON entries (state);

-- The intent to send one request; durable before the request leaves.
CREATE TABLE attempts (
  id               INTEGER PRIMARY KEY,
  entry            INTEGER NOT NULL REFERENCES entries (id),
  run              INTEGER NOT NULL REFERENCES runs (id),
  number           INTEGER NOT NULL,
  sent_at          INTEGER NOT NULL,
  token            BLOB NOT NULL,
  token_expires_at INTEGER,
  workflow_id      TEXT NOT NULL,
  trust_review     INTEGER NOT NULL,
  vendor_data      TEXT,
  UNIQUE (entry, number)
) STRICT;

-- What became of it; an attempt without an answer is open.
CREATE TABLE answers (
  attempt     INTEGER PRIMARY KEY REFERENCES attempts (id),
  answered_at INTEGER NOT NULL,
  outcome     TEXT NOT NULL CHECK (outcome IN ('imported', 'refused', 'not_processed', 'unknown')),
  http_status INTEGER,
  class       TEXT,
  detail      TEXT,
  session_id  TEXT
) STRICT;

-- Why a session was taken to be an entry's, or why none was.
CREATE TABLE evidence (
  id         INTEGER PRIMARY KEY,
  entry      INTEGER NOT NULL REFERENCES entries (id),
  run        INTEGER NOT NULL REFERENCES runs (id),
  at         INTEGER NOT NULL,
  verdict    TEXT NOT NULL,
  session_id TEXT,
  detail     TEXT NOT NULL
) STRICT;
CREATE INDEX evidence_by_entry ON evidence (entry);

-- What a run reported of each entry.
CREATE TABLE run_outcomes (
  run               INTEGER NOT NULL REFERENCES runs (id),
  label             TEXT NOT NULL,
  manifest          TEXT NOT NULL,
  entry             INTEGER REFERENCES entries (id),
  outcome           TEXT NOT NULL,
  source_session_id TEXT,
  session_id        TEXT,
  session_number    INTEGER,
  session_url       TEXT,
  session_kind      TEXT,
  status            TEXT,
  workflow_id       TEXT,
  vendor_data       TEXT,
  attempts          INTEGER NOT NULL,
  error_class       TEXT,
  error_status      INTEGER,
  error_detail      TEXT,
  PRIMARY KEY (run, label, manifest)
) STRICT, WITHOUT ROWID;

-- Findings that are open, or were: first_seen stays while one is open.
CREATE TABLE findings (
  id         INTEGER PRIMARY KEY,
  entry      INTEGER NOT NULL REFERENCES entries (id),
  rule       TEXT NOT NULL,
  first_seen INTEGER NOT NULL,
  closed_at  INTEGER
) STRICT;
CREATE UNIQUE INDEX findings_open ON findings (entry, rule) WHERE closed_at IS NULL;

CREATE TABLE run_findings (
  run        INTEGER NOT NULL REFERENCES runs (id),
  entry      INTEGER NOT NULL REFERENCES entries (id),
  manifest   TEXT NOT NULL,
  label      TEXT NOT NULL,
  session_id TEXT,
  rule       TEXT NOT NULL,
  severity   TEXT NOT NULL,
  message    TEXT NOT NULL,
  expected   TEXT,
  actual     TEXT,
  first_seen INTEGER NOT NULL,
  new        INTEGER NOT NULL,
  PRIMARY KEY (run, entry, rule)
) STRICT, WITHOUT ROWID;
