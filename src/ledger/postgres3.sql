-- Version 3: as version 11 of a file.
CREATE TABLE repeated_outcomes (
  run     BIGINT PRIMARY KEY REFERENCES runs (id),
  told_by BIGINT NOT NULL REFERENCES runs (id)
);
