-- Version 3: what raised the generation, and which saved plans were carried out. Rows are only ever added.

-- Raised by a request, a repair, or the use of a saved plan. Of what was raised before version 3 nothing is known.
CREATE TABLE generations (
  generation INTEGER PRIMARY KEY,
  run        INTEGER NOT NULL REFERENCES runs (id)
) STRICT;

CREATE TABLE plans (
  run    INTEGER PRIMARY KEY REFERENCES runs (id),
  digest BLOB NOT NULL  -- fingerprint of the file's bytes
) STRICT;
CREATE INDEX plans_by_digest ON plans (digest);
