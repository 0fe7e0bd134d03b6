-- Version 5: the rules (`expect`) of entries for which others hold than those of their manifest's defaults, as of its last apply.

CREATE TABLE rule_lists (
  id    INTEGER PRIMARY KEY,
  rules TEXT NOT NULL UNIQUE    -- JSON
) STRICT;

CREATE TABLE entry_rules (
  manifest TEXT NOT NULL,
  entry    BLOB NOT NULL,       -- keyed hash of the source session; of the label, where no token names the session
  rules    INTEGER NOT NULL REFERENCES rule_lists (id),
  PRIMARY KEY (manifest, entry)
) STRICT, WITHOUT ROWID;
CREATE INDEX entry_rules_by_entry ON entry_rules (entry);
CREATE INDEX entry_rules_by_rules ON entry_rules (rules);
