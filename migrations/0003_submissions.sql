-- Transactions that were or will be sent to L1. Each is stored before it is broadcast.

-- What is sent, and how far it has come.
CREATE TABLE submissions (
    id BIGINT PRIMARY KEY NOT NULL,
    account BLOB NOT NULL,
    nonce BIGINT NOT NULL,
    status TEXT NOT NULL,
    call_to BLOB NOT NULL,
    call_input BLOB NOT NULL,
    gas_limit BIGINT NOT NULL,
    blob_payload BLOB
);
CREATE INDEX submissions_by_account ON submissions (account, status);

-- A submission that appends a frame to the Inbox.
CREATE TABLE append_purposes (
    submission_id BIGINT PRIMARY KEY NOT NULL,
    parent_next_batch BIGINT NOT NULL,
    parent_acc BLOB NOT NULL,
    channel BLOB NOT NULL,
    frame_index BIGINT NOT NULL,
    is_last BIGINT NOT NULL,
    first_parent_number BIGINT NOT NULL,
    first_parent_hash BLOB NOT NULL,
    last_block_number BIGINT NOT NULL,
    last_block_hash BLOB NOT NULL,
    frame BLOB NOT NULL
);
CREATE INDEX append_purposes_by_parent ON append_purposes (parent_next_batch);

-- A submission that proposes an output.
CREATE TABLE output_purposes (
    submission_id BIGINT PRIMARY KEY NOT NULL,
    l2_number BIGINT NOT NULL,
    l2_hash BLOB NOT NULL,
    output_root BLOB NOT NULL
);

-- Signed transactions of a submission, oldest first; with the sidecar, ready to be sent.
CREATE TABLE attempts (
    submission_id BIGINT NOT NULL,
    ordinal BIGINT NOT NULL,
    transaction_hash BLOB NOT NULL,
    max_fee_wei TEXT NOT NULL,
    priority_fee_wei TEXT NOT NULL,
    max_blob_fee_wei TEXT,
    raw BLOB NOT NULL,
    PRIMARY KEY (submission_id, ordinal)
);

-- Where a confirmed or reverted submission was included.
CREATE TABLE inclusions (
    submission_id BIGINT PRIMARY KEY NOT NULL,
    transaction_hash BLOB NOT NULL,
    l1_number BIGINT NOT NULL,
    l1_hash BLOB NOT NULL,
    gas_used BIGINT NOT NULL,
    cost_wei TEXT NOT NULL
);
