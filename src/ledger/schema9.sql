-- Version 9: indexes hold only what is looked for in them. For nearly every entry a page of each is written.

-- Where the label is the source session, its own index finds both.
DROP INDEX entries_by_source;
CREATE INDEX entries_by_source ON entries (source_session_id)
  WHERE source_session_id IS NULL OR source_session_id <> label;

-- What an entry sent last is among what it ever sent.
DROP INDEX entries_by_vendor_data;

-- By its token an entry is looked for where the token's claims do not name the source session. Where they do,
-- from_application_id tells.
DROP INDEX entries_by_token;
CREATE INDEX entries_by_token ON entries (token)
  WHERE token IS NOT NULL AND (source_session_id IS NULL OR from_application_id IS NULL);
