-- Where the other nodes reach a node, and the SHA-256 digest of the certificate that it presents to
-- them. None for a node that the others cannot call, as all are before this step.
ALTER TABLE nodes
    ADD COLUMN peer_address text COLLATE "C",
    ADD COLUMN peer_certificate bytea;
