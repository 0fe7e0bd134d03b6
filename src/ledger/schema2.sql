-- Version 2: what the rate limits of the API need to know of earlier runs, by this machine's clock.

-- When the request left, or was about to.
ALTER TABLE attempts ADD COLUMN left_at INTEGER;
CREATE INDEX attempts_by_left_at ON attempts (left_at) WHERE left_at IS NOT NULL;

-- Requests other than imports, noted before they leave, reads in blocks. Forgotten when they matter no more.
CREATE TABLE sends (
  id       INTEGER PRIMARY KEY,
  key      BLOB NOT NULL,        -- fingerprint of the API key
  budget   TEXT NOT NULL CHECK (budget IN ('writes', 'reads')),
  requests INTEGER NOT NULL,     -- as reserved; once the block is closed, as sent
  until    INTEGER NOT NULL      -- no request of it leaves later
) STRICT;
CREATE INDEX sends_by_key ON sends (key, until);
