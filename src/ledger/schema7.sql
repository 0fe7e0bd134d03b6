-- Version 7: indexes that nothing is looked up by are not written any more. At full rate each cost every import a page of
-- its own in every commit.

DROP INDEX entries_by_source;
DROP INDEX entries_by_label;
DROP INDEX entries_by_token;
DROP INDEX entries_by_state;
-- What a run that died left refused or expired.
CREATE INDEX entries_ended ON entries (run) WHERE state IN ('expired', 'refused');
