-- The ledger of authority. What is written about a matter is written with its row in
-- ledger_matters locked, which makes that row's version the order of events.

CREATE TABLE ledger (
    -- There is one row.
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    id text NOT NULL
);
CREATE TABLE ledger_mandates (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run text NOT NULL UNIQUE,
    id text NOT NULL,
    token text NOT NULL,
    digest text NOT NULL,
    -- Times are milliseconds since 1970, as in SQLite.
    registered_at bigint NOT NULL
);
CREATE TABLE ledger_matters (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run text NOT NULL REFERENCES ledger_mandates (run),
    about text NOT NULL,
    status text NOT NULL,
    version bigint NOT NULL,
    UNIQUE (run, about)
);
CREATE INDEX ledger_matters_about ON ledger_matters (about);
CREATE TABLE ledger_decisions (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    matter bigint NOT NULL REFERENCES ledger_matters (number),
    nonce text NOT NULL UNIQUE,
    token text NOT NULL
);
CREATE INDEX ledger_decisions_matter ON ledger_decisions (matter);
CREATE TABLE ledger_uses (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    matter bigint NOT NULL REFERENCES ledger_matters (number),
    deed text NOT NULL,
    name text NOT NULL,
    begun_at bigint NOT NULL,
    done_at bigint,
    result text
);
CREATE INDEX ledger_uses_matter ON ledger_uses (matter);
CREATE TABLE ledger_recovery_given (
    account text NOT NULL,
    mark text NOT NULL,
    given_at bigint NOT NULL,
    PRIMARY KEY (account, mark)
);
CREATE TABLE ledger_journal (
    seq bigint PRIMARY KEY,
    at bigint NOT NULL,
    about text NOT NULL,
    account text,
    action text NOT NULL,
    outcome text NOT NULL,
    reason text
);
-- Where the journal ends. A sequence would give numbers in another order than that of the
-- commits, and a reader that asks for what follows a number would miss what is committed later below it.
CREATE TABLE ledger_journal_end (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    seq bigint NOT NULL
);
INSERT INTO ledger_journal_end (seq) VALUES (0);
