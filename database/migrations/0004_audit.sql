-- The audit log: one chain for all writers. Each writer locks its end first.

CREATE TABLE audit_entries (
    sequence bigint PRIMARY KEY,
    -- The event as JSON, exactly as it was chained.
    event text NOT NULL,
    hash bytea NOT NULL,
    -- What is asked for, as the event says it.
    at text COLLATE "C" NOT NULL,
    action text NOT NULL,
    caller text NOT NULL,
    subject text
);
CREATE INDEX audit_entries_by_caller ON audit_entries (caller, sequence);
CREATE INDEX audit_entries_by_subject ON audit_entries (subject, sequence) WHERE subject IS NOT NULL;
CREATE INDEX audit_entries_by_action ON audit_entries (action, sequence);
CREATE FUNCTION audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION 'the audit log is append-only';
    END
$$;
CREATE TRIGGER audit_entries_stay
    BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();
-- The last entry's place and hash; place 0 before the first.
CREATE TABLE audit_end (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    sequence bigint NOT NULL,
    hash bytea NOT NULL
);
