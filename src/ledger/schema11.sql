-- Version 11: what a run reported is kept once, where a run before it reported the same.

CREATE TABLE repeated_outcomes (
  run     INTEGER PRIMARY KEY REFERENCES runs (id),
  told_by INTEGER NOT NULL REFERENCES runs (id)  -- whose rows of run_outcomes are this run's, too
) STRICT;
