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

-- How many imports a minute a manifest allowed in a run.
CREATE TABLE run_limits (
  run               INTEGER NOT NULL REFERENCES runs (id),
  manifest          TEXT NOT NULL,
  writes_per_minute INTEGER,
  PRIMARY KEY (run, manifest)
) STRICT, WITHOUT ROWID;
