//! The rollup's ledger with L1, in SQL: the L1 chain as it was watched with its deposits, what was
//! submitted to L1, heads, audit.
//!
//! The only SQL of the node. One set of queries runs on SQLite (the default, embedded) and on
//! PostgreSQL: common column types, `$n` placeholders, ids assigned here. Whatever belongs together
//! is written in one transaction. Not one row per L2 transaction: those are in the chain store.

mod columns;
mod costs;
mod error;
mod l1;
mod lock;
mod rollup;
mod submissions;

pub use error::LedgerError;
pub use lock::{PostingLock, lock_file};
pub use rollup::AuditEntry;

use alloy::primitives::B256;
use sqlx::{
    Any, AnyPool, Executor, Row, SqlSafeStr, Transaction,
    any::AnyPoolOptions,
    migrate::{Migration, MigrationType, Migrator},
};
use std::{path::PathBuf, time::Duration};

/// Connections at most. The ledger sees a few statements per L1 block and per batch; more would only
/// wait for each other on SQLite, and be taken from others on PostgreSQL.
const CONNECTIONS_MAX: u32 = 4;
/// Longest wait for a connection before the call is [`LedgerError::Unavailable`].
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(10);

/// SQLite per connection: readers do not block the writer (WAL), a committed transaction survives
/// power loss (FULL), and a second writer waits instead of failing.
const SQLITE_PRAGMAS: [&str; 3] =
    ["PRAGMA busy_timeout = 10000", "PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"];

/// Which chain a ledger belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainIdentity {
    /// EIP-155 chain id.
    pub chain_id: u64,
    /// Hash of block 0.
    pub genesis_hash: B256,
}

/// The open ledger; cloning shares its connections.
#[derive(Clone, Debug)]
pub struct Ledger {
    pool: AnyPool,
    engine: Engine,
    /// Where it is, if it is a file.
    file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    fn of(url: &str) -> Result<Self, LedgerError> {
        match url.split_once("://") {
            Some(("sqlite", _)) => Ok(Self::Sqlite),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres),
            _ => Err(LedgerError::UnsupportedUrl),
        }
    }

    /// How a write transaction begins: reads in it must not be invalidated by other writers.
    fn begin(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN IMMEDIATE",
            Self::Postgres => "BEGIN ISOLATION LEVEL SERIALIZABLE",
        }
    }

    /// How several reads begin that must see one state.
    fn begin_read(self) -> &'static str {
        match self {
            Self::Sqlite => "BEGIN",
            Self::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        }
    }

    fn on_connect(self) -> &'static [&'static str] {
        match self {
            Self::Sqlite => &SQLITE_PRAGMAS,
            Self::Postgres => &[],
        }
    }

    /// The migrations, embedded; the same files but for the first, which makes them so.
    fn migrator(self) -> Migrator {
        let blob = include_str!("../../../../migrations/postgres/0001_blob.sql");
        let ledger = include_str!("../../../../migrations/0002_ledger.sql");
        let submissions = include_str!("../../../../migrations/0003_submissions.sql");
        let spending = include_str!("../../../../migrations/0004_spending.sql");
        let mut migrations = vec![
            migration(2, "ledger", ledger),
            migration(3, "submissions", submissions),
            migration(4, "spending", spending),
        ];
        if self == Self::Postgres {
            migrations.push(migration(1, "blob", blob));
        }
        Migrator::with_migrations(migrations)
    }
}

fn migration(version: i64, name: &'static str, sql: &'static str) -> Migration {
    Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
}

impl Ledger {
    /// Opens the ledger at `sqlite://path` (created when missing) or `postgres://...` and brings its
    /// tables up to date. A new ledger becomes that of `chain`.
    ///
    /// # Errors
    /// [`LedgerError::UnsupportedUrl`], [`LedgerError::OtherChain`] and [`LedgerError::Migration`]:
    /// refuse to start; [`LedgerError::Unavailable`]: try again.
    pub async fn connect(url: &str, chain: &ChainIdentity) -> Result<Self, LedgerError> {
        let engine = Engine::of(url)?;
        sqlx::any::install_default_drivers();
        let file = lock::sqlite_file(url);
        let url = match engine {
            Engine::Sqlite if !url.contains('?') => format!("{url}?mode=rwc"),
            _ => url.to_owned(),
        };
        let options = AnyPoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECTION_WAIT_MAX)
            .after_connect(move |connection, _| {
                Box::pin(async move {
                    for statement in engine.on_connect() {
                        connection.execute(*statement).await?;
                    }
                    Ok(())
                })
            });
        let pool = options.connect(&url).await?;
        engine.migrator().run(&pool).await?;
        let ledger = Self { pool, engine, file };
        ledger.claim(chain).await?;
        Ok(ledger)
    }

    /// Writes the identity into a new ledger, or compares it.
    async fn claim(&self, chain: &ChainIdentity) -> Result<(), LedgerError> {
        let mut transaction = self.begin().await?;
        let chain_id = meta(&mut transaction, "chain_id").await?;
        let genesis_hash = meta(&mut transaction, "genesis_hash").await?;
        match (chain_id, genesis_hash) {
            (None, None) => {
                set_meta(&mut transaction, "chain_id", &chain.chain_id.to_be_bytes()).await?;
                set_meta(&mut transaction, "genesis_hash", chain.genesis_hash.as_slice()).await?;
                Ok(transaction.commit().await?)
            }
            (Some(chain_id), Some(genesis_hash)) => {
                let corrupt = LedgerError::Corrupt { column: "meta.value" };
                let chain_id = chain_id.try_into().map(u64::from_be_bytes);
                let genesis_hash = B256::try_from(genesis_hash.as_slice());
                let (Ok(chain_id), Ok(genesis_hash)) = (chain_id, genesis_hash) else {
                    return Err(corrupt);
                };
                let found = ChainIdentity { chain_id, genesis_hash };
                if found == *chain {
                    return Ok(());
                }
                Err(LedgerError::OtherChain { expected: *chain, found })
            }
            _ => Err(LedgerError::Corrupt { column: "meta.name" }),
        }
    }

    /// Begins a write transaction; dropping it undoes it.
    async fn begin(&self) -> Result<Transaction<'static, Any>, LedgerError> {
        Ok(self.pool.begin_with(self.engine.begin()).await?)
    }

    /// Begins a read transaction: all of it sees one state.
    async fn begin_read(&self) -> Result<Transaction<'static, Any>, LedgerError> {
        Ok(self.pool.begin_with(self.engine.begin_read()).await?)
    }

    /// Closes the connections; later calls fail. Waits for calls in progress.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// A single value by name.
async fn meta(
    transaction: &mut Transaction<'static, Any>,
    name: &str,
) -> Result<Option<Vec<u8>>, LedgerError> {
    let query = sqlx::query("SELECT value FROM meta WHERE name = $1").bind(name);
    let row = query.fetch_optional(&mut **transaction).await?;
    Ok(row.map(|row| row.try_get("value")).transpose()?)
}

async fn set_meta(
    transaction: &mut Transaction<'static, Any>,
    name: &str,
    value: &[u8],
) -> Result<(), LedgerError> {
    sqlx::query(
        "INSERT INTO meta (name, value) VALUES ($1, $2)
         ON CONFLICT (name) DO UPDATE SET value = excluded.value",
    )
    .bind(name)
    .bind(value)
    .execute(&mut **transaction)
    .await?;
    Ok(())
}
