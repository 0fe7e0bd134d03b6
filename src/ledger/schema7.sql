-- Version 7: indexes for what is asked of a ledger of any size. Each is written once for a request, or seldom.

-- Entries are counted by manifest and state at every run's end, and listed by state.
DROP INDEX entries_by_state;
CREATE INDEX entries_by_state ON entries (state, manifest);

-- By what an erased entry is known again.
CREATE INDEX entries_by_source_hash ON entries (source_hash) WHERE source_hash IS NOT NULL;

-- Whether another entry ever sent this vendor_data; what a run sent.
CREATE INDEX attempts_by_vendor_data ON attempts (vendor_data) WHERE vendor_data IS NOT NULL;
CREATE INDEX attempts_by_run ON attempts (run);
CREATE INDEX evidence_by_run ON evidence (run, entry);
