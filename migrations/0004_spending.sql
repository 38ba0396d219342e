-- What the node pays L1, and how one of its transactions is taken back.

-- Whether an attempt does nothing but use the nonce of the submission.
ALTER TABLE attempts ADD COLUMN is_cancel BIGINT NOT NULL DEFAULT 0;

-- Every transaction of ours that L1 included, whatever it was for and whether it succeeded, with what
-- it cost and when that was seen. Kept when its submission is forgotten.
CREATE TABLE costs (
    transaction_hash BLOB PRIMARY KEY NOT NULL,
    account BLOB NOT NULL,
    at_secs BIGINT NOT NULL,
    cost_wei TEXT NOT NULL
);
CREATE INDEX costs_by_time ON costs (at_secs);
