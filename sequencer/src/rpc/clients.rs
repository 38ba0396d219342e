//! What each client address has: connections, a budget for calls, and bytes in our memory.
//!
//! A client is an IPv4 address, or the /64 network of an IPv6 address, because a host has all of that.
//! Behind a proxy all are one client: there the proxy is the place for these bounds, and the settings
//! turn them off. Knows no method and no transport.

use super::{cost::BATCH_COST_MAX, error::Limit};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

/// How long a request may take to arrive: the longest at 3 Mbit/s. geth's time.
const ARRIVAL: Duration = Duration::from_secs(30);
/// For how long a client may spend at once what it was given and did not use.
const BURST_SECS: u64 = 5;
/// Clients that are remembered. Beyond it those without a connection are forgotten, which gives them
/// their budget anew: a flood from so many addresses is not what this holds.
const CLIENTS_MAX: usize = 16_384;
/// Bytes of bodies being read and of answers not yet sent, over all clients, but for short ones. What
/// would exceed it is refused as "server busy".
const HELD_BYTES_MAX: usize = 512 << 20;
/// The same for one client: two of the longest answers.
const CLIENT_HELD_BYTES_MAX: usize = 160 << 20;
/// Bytes of long bodies and messages that are read from one client per second, after as many at once;
/// a client that sends faster is read later. More than the transactions of a full chain, and a
/// hundredth of a core.
const LONG_BYTES_PER_SEC: u64 = 16 << 20;
/// Bodies, answers and queues up to here are not counted: a send is never refused for what others
/// hold. With the bound on connections it is a bound on its own.
pub(super) const FREE_BYTES: usize = 64 * 1024;

/// What clients may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Units of work per second, a unit being about a microsecond of one core, after a burst of five
    /// times as many; 0 is no limit.
    pub cost_per_sec: u64,
    /// Open connections; 0 is no limit of its own.
    pub connections: usize,
    /// How long the head of a request may take to arrive, its body, and the next request on the same
    /// connection. Then the connection is closed, with 408 where a body is missing.
    pub arrival: Duration,
}

impl Default for ClientLimits {
    /// A core's worth of calls, and more connections than a tool or a browser opens.
    fn default() -> Self {
        Self { cost_per_sec: 250_000, connections: 512, arrival: ARRIVAL }
    }
}

/// What is left of a client's budget.
#[derive(Debug)]
struct Bucket {
    units: u64,
    filled: Instant,
}

/// One client address.
#[derive(Debug)]
pub(super) struct Client {
    cost_per_sec: u64,
    bucket: Mutex<Bucket>,
    /// When the long bytes that have come are read, at their rate.
    read_until: Mutex<Instant>,
    connections: AtomicUsize,
    held_bytes: AtomicUsize,
    all_held_bytes: Arc<AtomicUsize>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Client {
    fn new(limits: ClientLimits, all_held_bytes: Arc<AtomicUsize>) -> Self {
        let cost_per_sec = limits.cost_per_sec;
        let bucket = Mutex::new(Bucket { units: capacity(cost_per_sec), filled: Instant::now() });
        let (connections, held_bytes) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let read_until = Mutex::new(Instant::now());
        Self { cost_per_sec, bucket, read_until, connections, held_bytes, all_held_bytes }
    }

    /// One without bounds: this process itself.
    pub(super) fn trusted() -> Self {
        let limits = ClientLimits { cost_per_sec: 0, connections: 0, ..ClientLimits::default() };
        Self::new(limits, Arc::default())
    }

    /// Takes units from the budget. Where they are not there nothing is taken, so that cheap calls go
    /// on when dear ones are refused.
    ///
    /// # Errors
    /// [`Limit::ClientCost`] with the time after which they are there.
    pub(super) fn spend(&self, units: u64) -> Result<(), Limit> {
        if self.cost_per_sec == 0 {
            return Ok(());
        }
        let mut bucket = lock(&self.bucket);
        bucket.fill(self.cost_per_sec);
        if let Some(left) = bucket.units.checked_sub(units) {
            bucket.units = left;
            return Ok(());
        }
        let missing = units - bucket.units;
        Err(Limit::ClientCost {
            millis: (missing.saturating_mul(1_000) / self.cost_per_sec).max(1),
        })
    }

    /// Counts bytes of something long that came, and says when more may be read; `None` for at once.
    pub(super) fn read(&self, bytes: usize) -> Option<Instant> {
        if self.cost_per_sec == 0 {
            return None;
        }
        let now = Instant::now();
        let micros = bytes as u64 * 1_000_000 / LONG_BYTES_PER_SEC;
        let mut until = lock(&self.read_until);
        *until = (*until).max(now) + Duration::from_micros(micros);
        // What is allowed at once is a second's worth.
        until.checked_sub(Duration::from_secs(1)).filter(|at| *at > now)
    }

    /// Whether nothing would be lost by forgetting it.
    fn is_idle(&self) -> bool {
        let mut bucket = lock(&self.bucket);
        if self.cost_per_sec > 0 {
            bucket.fill(self.cost_per_sec);
        }
        self.connections.load(Relaxed) == 0 && bucket.units == capacity(self.cost_per_sec)
    }
}

/// At least a batch, however low the rate.
const fn capacity(cost_per_sec: u64) -> u64 {
    let burst = cost_per_sec.saturating_mul(BURST_SECS);
    if burst < BATCH_COST_MAX { BATCH_COST_MAX } else { burst }
}

impl Bucket {
    fn fill(&mut self, cost_per_sec: u64) {
        let gained = self.filled.elapsed().as_micros() * u128::from(cost_per_sec) / 1_000_000;
        let gained = u64::try_from(gained).unwrap_or(u64::MAX);
        // Parts of a unit stay in the time that is not counted yet.
        if gained > 0 {
            self.units = self.units.saturating_add(gained).min(capacity(cost_per_sec));
            self.filled = Instant::now();
        }
    }
}

/// Bytes of ours that a client makes us keep; given back when dropped.
#[derive(Debug)]
pub(super) struct Hold {
    client: Arc<Client>,
    bytes: usize,
}

impl Hold {
    /// Of nothing yet.
    pub(super) const fn new(client: Arc<Client>) -> Self {
        Self { client, bytes: 0 }
    }

    /// Holds more.
    ///
    /// # Errors
    /// [`Limit::HeldBytes`] when this client or all of them hold too much; nothing is added then.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), Limit> {
        take(&self.client.held_bytes, bytes, CLIENT_HELD_BYTES_MAX)?;
        if let Err(limit) = take(&self.client.all_held_bytes, bytes, HELD_BYTES_MAX) {
            self.client.held_bytes.fetch_sub(bytes, Relaxed);
            return Err(limit);
        }
        self.bytes += bytes;
        Ok(())
    }
}

fn take(held: &AtomicUsize, bytes: usize, max: usize) -> Result<(), Limit> {
    let more = |held: usize| held.checked_add(bytes).filter(|held| *held <= max);
    held.fetch_update(Relaxed, Relaxed, more).map(|_| ()).map_err(|_| Limit::HeldBytes(max))
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.client.held_bytes.fetch_sub(self.bytes, Relaxed);
        self.client.all_held_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// All clients.
#[derive(Debug)]
pub(super) struct Clients {
    limits: ClientLimits,
    connections_max: usize,
    connections: Arc<AtomicUsize>,
    held_bytes: Arc<AtomicUsize>,
    known: Mutex<HashMap<IpAddr, Arc<Client>>>,
}

/// An open connection of a client; counted until dropped.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) client: Arc<Client>,
    connections: Arc<AtomicUsize>,
}

impl Clients {
    pub(super) fn new(limits: ClientLimits, connections_max: usize) -> Self {
        let (connections, held_bytes, known) = <_>::default();
        Self { limits, connections_max, connections, held_bytes, known }
    }

    /// Counts a new connection; `None` when there are too many.
    pub(super) fn connect(&self, address: IpAddr) -> Option<Connected> {
        let key = client_of(address);
        let mut known = lock(&self.known);
        if known.len() >= CLIENTS_MAX && !known.contains_key(&key) {
            known.retain(|_, client| !client.is_idle());
            if known.len() >= CLIENTS_MAX {
                known.retain(|_, client| client.connections.load(Relaxed) > 0);
            }
        }
        let new = || Arc::new(Client::new(self.limits, self.held_bytes.clone()));
        let client = known.entry(key).or_insert_with(new).clone();
        let own_max = match self.limits.connections {
            0 => usize::MAX,
            max => max,
        };
        take(&client.connections, 1, own_max).ok()?;
        if take(&self.connections, 1, self.connections_max).is_err() {
            client.connections.fetch_sub(1, Relaxed);
            return None;
        }
        Some(Connected { client, connections: self.connections.clone() })
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.client.connections.fetch_sub(1, Relaxed);
        self.connections.fetch_sub(1, Relaxed);
    }
}

/// The address by which a client is known.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([127, 0, 0, last])
    }

    #[test]
    fn connections_are_bounded_for_each_client_and_for_all() {
        let clients = Clients::new(ClientLimits { connections: 2, ..ClientLimits::default() }, 3);
        let first = clients.connect(address(1)).unwrap();
        let second = clients.connect(address(1)).unwrap();
        assert!(clients.connect(address(1)).is_none(), "a third of one client");
        let third = clients.connect(address(2)).unwrap();
        assert!(clients.connect(address(3)).is_none(), "a fourth of all");
        drop(second);
        assert!(clients.connect(address(3)).is_some());
        drop((first, third));
        assert_eq!(clients.connections.load(Relaxed), 0);
    }

    #[test]
    fn what_is_missing_of_a_budget_refuses_dear_calls_and_not_cheap_ones() {
        let limits = ClientLimits { cost_per_sec: 1, ..ClientLimits::default() };
        let client = Client::new(limits, Arc::default());
        client.spend(BATCH_COST_MAX - 10).unwrap();
        assert!(matches!(client.spend(10_000), Err(Limit::ClientCost { millis: 1_000.. })));
        client.spend(1).unwrap();
    }

    #[test]
    fn a_budget_comes_back_with_time() {
        let limits = ClientLimits { cost_per_sec: 1_000_000_000, ..ClientLimits::default() };
        let client = Client::new(limits, Arc::default());
        client.spend(capacity(limits.cost_per_sec)).unwrap();
        std::thread::park_timeout(Duration::from_millis(1));
        client.spend(1_000).unwrap();
    }

    #[test]
    fn long_bytes_are_read_at_a_rate_after_the_first() {
        let client = Client::new(ClientLimits::default(), Arc::default());
        let second = usize::try_from(LONG_BYTES_PER_SEC).unwrap();
        assert_eq!(client.read(second / 2), None);
        let later = Instant::now() + Duration::from_secs(1);
        assert!(client.read(2 * second).unwrap() > later, "a second and a half from here");
        assert_eq!(Client::trusted().read(100 * second), None);
    }

    #[test]
    fn a_budget_survives_a_new_connection() {
        let limits = ClientLimits { cost_per_sec: 1, ..ClientLimits::default() };
        let clients = Clients::new(limits, 10);
        clients.connect(address(1)).unwrap().client.spend(BATCH_COST_MAX).unwrap();
        assert!(clients.connect(address(1)).unwrap().client.spend(10_000).is_err());
        assert!(clients.connect(address(2)).unwrap().client.spend(10_000).is_ok());
    }

    #[test]
    fn held_bytes_are_bounded_and_given_back() {
        let client = Arc::new(Client::trusted());
        let mut hold = Hold::new(client.clone());
        hold.add(CLIENT_HELD_BYTES_MAX).unwrap();
        assert_eq!(Hold::new(client.clone()).add(1), Err(Limit::HeldBytes(CLIENT_HELD_BYTES_MAX)));
        drop(hold);
        Hold::new(client).add(1).unwrap();
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let of = |text: &str| client_of(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::2:3"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
