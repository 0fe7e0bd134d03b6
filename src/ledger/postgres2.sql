-- Version 2: as version 10 of a file.
CREATE TABLE up_to_date (
  inputs     BYTEA PRIMARY KEY,
  generation BIGINT NOT NULL,
  found      TEXT COLLATE "C" NOT NULL
);
