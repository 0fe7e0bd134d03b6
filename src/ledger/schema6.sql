-- Version 6: what a session was when it was first verified, or accepted.

-- Ids, statuses, times of reviews and keyed digests of evidence; nothing personal.
CREATE TABLE baselines (
  entry      INTEGER PRIMARY KEY REFERENCES entries (id),
  run        INTEGER NOT NULL REFERENCES runs (id),  -- who took it
  at         INTEGER NOT NULL,
  session_id TEXT NOT NULL,
  facts      TEXT NOT NULL                           -- JSON
) STRICT;

-- Evidence is told by block: a finding is known again by entry, rule and block.
ALTER TABLE findings ADD COLUMN block TEXT NOT NULL DEFAULT '';
DROP INDEX findings_open;
CREATE UNIQUE INDEX findings_open ON findings (entry, rule, block) WHERE closed_at IS NULL;

ALTER TABLE run_findings RENAME TO run_findings_3;
CREATE TABLE run_findings (
  run        INTEGER NOT NULL REFERENCES runs (id),
  entry      INTEGER NOT NULL REFERENCES entries (id),
  manifest   TEXT NOT NULL,
  label      TEXT NOT NULL,
  session_id TEXT,
  rule       TEXT NOT NULL,
  block      TEXT NOT NULL,
  severity   TEXT NOT NULL,
  message    TEXT NOT NULL,
  expected   TEXT,
  actual     TEXT,
  first_seen INTEGER NOT NULL,
  new        INTEGER NOT NULL,
  PRIMARY KEY (run, entry, rule, block)
) STRICT, WITHOUT ROWID;
INSERT INTO run_findings
  SELECT run, entry, manifest, label, session_id, rule, '', severity, message, expected, actual, first_seen, new
  FROM run_findings_3;
DROP TABLE run_findings_3;
CREATE INDEX run_findings_by_entry ON run_findings (entry, rule, block);
