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

-- L2 heads by level: latest, safe, finalized.
CREATE TABLE heads (
    level TEXT PRIMARY KEY NOT NULL,
    number BIGINT NOT NULL,
    hash BLOB NOT NULL
);

-- Claims about the state, one per L2 block that was proposed.
CREATE TABLE outputs (
    l2_number BIGINT PRIMARY KEY NOT NULL,
    output_root BLOB NOT NULL,
    transaction_hash BLOB,
    status TEXT NOT NULL
);

-- What operators and the node itself decided; the oldest rows are dropped beyond a bound.
CREATE TABLE audit (
    id BIGINT PRIMARY KEY NOT NULL,
    at_secs BIGINT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL
);
