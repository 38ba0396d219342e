-- The ledger of the rollup with L1. Runs on SQLite and PostgreSQL.
-- Numbers are BIGINT, hashes and encoded things BLOB, amounts above 2^63 decimal TEXT.
-- Ids are assigned by the program.

-- Whose ledger this is, and single values.
CREATE TABLE meta (
    name TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
);

-- The L1 chain as it was watched, without gaps. The highest row is the cursor: everything L1 said
-- up to it is in this database, and nothing after it.
CREATE TABLE l1_blocks (
    number BIGINT PRIMARY KEY NOT NULL,
    hash BLOB NOT NULL,
    parent_hash BLOB NOT NULL,
    timestamp_secs BIGINT NOT NULL,
    base_fee_wei BIGINT NOT NULL,
    blob_base_fee_wei TEXT NOT NULL,
    prevrandao BLOB NOT NULL
);

-- Deposits of each L1 block, in log order, as EIP-2718 bytes.
CREATE TABLE deposits (
    l1_number BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    deposit BLOB NOT NULL,
    PRIMARY KEY (l1_number, ordinal)
);

-- L2 heads as L1 has them, by level: safe and finalized, both or none. Each with the L1 block of the
-- last Inbox append that was taken into account, and the Inbox after it.
CREATE TABLE heads (
    level TEXT PRIMARY KEY NOT NULL,
    l2_number BIGINT NOT NULL,
    l2_hash BLOB NOT NULL,
    l1_number BIGINT NOT NULL,
    l1_hash BLOB NOT NULL,
    next_batch BIGINT NOT NULL,
    acc BLOB NOT NULL
);

-- What the node did that an operator asks about later; the oldest rows are dropped beyond a bound.
CREATE TABLE audit (
    id BIGINT PRIMARY KEY NOT NULL,
    at_secs BIGINT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL
);
