-- Version 10: what was found up to date, so that the same files need not be read through again.

-- A row is good until a run that is no audit raises the generation. Nothing hangs on it: it may go at any time.
CREATE TABLE up_to_date (
  inputs     BLOB PRIMARY KEY,  -- keyed digest of the paths given
  generation INTEGER NOT NULL,
  found      TEXT NOT NULL      -- JSON: the files with their digest, and the manifests in a few words
) STRICT, WITHOUT ROWID;
