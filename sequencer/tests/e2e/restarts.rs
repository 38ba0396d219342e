//! kill -9 at every write by which the transaction manager remembers a transaction, on both sides of it:
//! before it is durable, and when it is and the process does not know.
//!
//! The ledger is PostgreSQL, which can hold the process exactly there: a trigger sleeps in the write, or
//! makes its commit wait for a replica that there is not (the commit is durable then, and nobody is told).

use crate::{
    postgres::Cluster,
    story::Story,
    support::{account, wait_for},
};
use alloy::{hex, primitives::B256, providers::Provider};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};

/// A side of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// What is written is lost with the process.
    Before,
    /// It is durable.
    After,
}

/// The writes, by the status that they give a submission: before it is broadcast, after, and when L1 has
/// included it.
const STATUSES: [&str; 3] = ["stored", "broadcast", "confirmed"];

/// Class of the advisory lock by which the trigger tells whose write it holds.
const HELD: i32 = 4_711;

/// What holds the process.
struct Trap {
    database: PgConnection,
}

impl Trap {
    async fn lay(url: &str) -> Self {
        let mut database = PgConnection::connect(url).await.unwrap();
        let batcher = hex::encode(account(11).address());
        let sql = format!(
            r"CREATE TABLE trap (status TEXT NOT NULL, is_after BOOLEAN NOT NULL);
            CREATE FUNCTION spring() RETURNS trigger LANGUAGE plpgsql AS $$
            DECLARE armed RECORD;
            BEGIN
                SELECT * INTO armed FROM trap WHERE status = NEW.status;
                IF FOUND AND NEW.account = '\x{batcher}'::bytea THEN
                    PERFORM pg_advisory_xact_lock({HELD}, NEW.id::int);
                    IF armed.is_after THEN
                        PERFORM set_config('synchronous_commit', 'on', true);
                    ELSE
                        PERFORM pg_sleep(3600);
                    END IF;
                END IF;
                RETURN NEW;
            END $$;
            CREATE TRIGGER spring BEFORE INSERT OR UPDATE ON submissions
                FOR EACH ROW EXECUTE FUNCTION spring();"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut database).await.unwrap();
        Self { database }
    }

    /// Waits until the next write that gives this status is held; gives the submission's id.
    async fn catch(&mut self, status: &str, side: Side) -> i64 {
        let arm = sqlx::query("INSERT INTO trap VALUES ($1, $2)");
        arm.bind(status).bind(side == Side::After).execute(&mut self.database).await.unwrap();
        let event = if side == Side::After { "SyncRep" } else { "PgSleep" };
        wait_for("a write that is held", async || {
            let held = sqlx::query(
                "SELECT l.objid::bigint AS id FROM pg_locks l JOIN pg_stat_activity a USING (pid)
                 WHERE l.locktype = 'advisory' AND l.classid::bigint = $1 AND a.wait_event = $2",
            );
            let held = held.bind(i64::from(HELD)).bind(event);
            Some(held.fetch_optional(&mut self.database).await.unwrap()?.get("id"))
        })
        .await
    }

    /// What is held ends, as it does when the machine of the dead process is gone; and nothing is held
    /// any more.
    async fn release(&mut self) {
        self.database.execute("DELETE FROM trap").await.unwrap();
        wait_for("the connections of the dead process to end", async || {
            let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                          WHERE datname = current_database() AND pid <> pg_backend_pid()";
            self.database.fetch_all(others).await.unwrap().is_empty().then_some(())
        })
        .await;
    }

    /// Status of a submission, and the hash of its last attempt.
    async fn submission(&mut self, id: i64) -> Option<(String, B256)> {
        let query = sqlx::query(
            "SELECT s.status, a.transaction_hash FROM submissions s
             JOIN attempts a ON a.submission_id = s.id WHERE s.id = $1
             ORDER BY a.ordinal DESC LIMIT 1",
        );
        let row = query.bind(id).fetch_optional(&mut self.database).await.unwrap()?;
        let hash: Vec<u8> = row.get("transaction_hash");
        Some((row.get("status"), B256::from_slice(&hash)))
    }
}

/// What the ledger and L1 know of the transaction at the moment of the kill.
async fn assert_was_there(story: &Story, trap: &mut Trap, id: i64, write: usize, side: Side) {
    let durable = if side == Side::After { Some(write) } else { write.checked_sub(1) };
    let found = trap.submission(id).await;
    assert_eq!(found.as_ref().map(|f| f.0.as_str()), durable.map(|write| STATUSES[write]));
    let Some((_, hash)) = found else { return };
    // It is sent between the first two writes, and included before the last one.
    let is_sent = story.l1.get_transaction_by_hash(hash).await.unwrap().is_some();
    assert_eq!(is_sent, (write, side) != (0, Side::After));
    if write == 2 {
        assert!(story.l1.get_transaction_receipt(hash).await.unwrap().is_some());
    }
}

async fn a_node_killed_at_each_write_posts_everything_once(carrier: &str) {
    let Some(cluster) = Cluster::start().await else { return };
    let url = cluster.create_database("ledger").await;
    let Some(mut story) = Story::start(carrier, &format!("ledger-url = {url:?}\n")).await else {
        return;
    };
    let mut trap = Trap::lay(&url).await;
    for (write, status) in STATUSES.iter().enumerate() {
        for side in [Side::Before, Side::After] {
            story.transact().await;
            let id = trap.catch(status, side).await;
            story.kill();
            trap.release().await;
            println!("{carrier}: killed {side:?} {status:?} of submission {id} was durable");
            assert_was_there(&story, &mut trap, id, write, side).await;
            story.restart().await;
            story.wait_for_batches(1).await;
        }
    }
    // Not a transaction more than there are batches: none was sent that came too late.
    let sent = async || {
        let nonce = story.l1.get_transaction_count(account(11).address()).await.unwrap();
        (nonce == story.next_batch().await).then_some(())
    };
    wait_for("as many transactions as batches", sent).await;
    story.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs() {
    a_node_killed_at_each_write_posts_everything_once("blob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calldata() {
    a_node_killed_at_each_write_posts_everything_once("calldata").await;
}
