-- The id of the server key with which the chain continues, since keys are rotated. Null until the
-- first entry of a release that knows it: then the chain has the installation's first key.
ALTER TABLE audit_end ADD COLUMN key text;
