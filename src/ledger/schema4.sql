-- Version 4: what reports of a run need beside its outcomes, so that they can be made again.

ALTER TABLE run_outcomes ADD COLUMN from_application_id TEXT;
ALTER TABLE run_outcomes ADD COLUMN for_application_id TEXT;
ALTER TABLE run_outcomes ADD COLUMN expires_at INTEGER;  -- of the token, where one was delivered

-- The entries of the whole ledger when a run ended.
CREATE TABLE run_states (
  run      INTEGER NOT NULL REFERENCES runs (id),
  manifest TEXT NOT NULL,
  state    TEXT NOT NULL,
  entries  INTEGER NOT NULL,
  PRIMARY KEY (run, manifest, state)
) STRICT, WITHOUT ROWID;
