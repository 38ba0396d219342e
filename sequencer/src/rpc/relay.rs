//! Events for many listeners, handed over by one task.
//!
//! Whoever tells an event wakes one listener, this one, whatever the number of sockets and streams:
//! they wait on threads that step back, and the builder must never wait for a lock that such a thread
//! holds. Owns the second hop; keeps no history.

use tokio::sync::broadcast::{Receiver, Sender, error::RecvError};

/// The hub of one kind of events.
#[derive(Debug)]
pub(super) struct Relay<T> {
    told: Sender<T>,
    handed_on: Sender<Option<T>>,
}

/// One listener.
#[derive(Debug)]
pub(super) struct Listener<T>(Receiver<Option<T>>);

/// Events were lost on the way to this listener: it was too slow, or the relay was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Missed;

impl<T: Clone> Relay<T> {
    /// For a relay, and listeners, that are at most `events_max` events behind.
    pub(super) fn new(events_max: usize) -> Self {
        Self { told: Sender::new(events_max), handed_on: Sender::new(events_max) }
    }

    /// Whether anybody listens.
    pub(super) fn is_heard(&self) -> bool {
        self.handed_on.receiver_count() > 0
    }

    /// Tells an event.
    pub(super) fn tell(&self, event: T) {
        if self.is_heard() {
            // An error means that the relay does not run, and so nobody listens.
            let _ = self.told.send(event);
        }
    }

    /// Listens from now on. What was told a moment before may still come.
    pub(super) fn listen(&self) -> Listener<T> {
        Listener(self.handed_on.subscribe())
    }

    /// Hands on what is told to it. Never ends.
    pub(super) async fn run(&self) {
        self.hand_on(self.told.subscribe()).await;
    }

    /// Hands on what comes from elsewhere, until nothing can come any more.
    pub(super) async fn hand_on(&self, mut source: Receiver<T>) {
        loop {
            let event = match source.recv().await {
                Ok(event) => Some(event),
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return,
            };
            // An error means that nobody listens.
            let _ = self.handed_on.send(event);
        }
    }
}

impl<T: Clone> Listener<T> {
    /// The next event. Never again, when there is nobody who could tell one.
    ///
    /// # Errors
    /// [`Missed`], once for each gap.
    pub(super) async fn next(&mut self) -> Result<T, Missed> {
        match self.0.recv().await {
            Ok(event) => event.ok_or(Missed),
            Err(RecvError::Lagged(_)) => Err(Missed),
            Err(RecvError::Closed) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[tokio::test]
    async fn what_the_relay_or_its_listener_missed_is_said() {
        let (source, relay) = (Sender::new(2), Arc::new(Relay::new(4)));
        let (mut quick, mut slow) = (relay.listen(), relay.listen());
        let received = source.subscribe();
        // Of the first three the relay finds two.
        for event in 0..3 {
            source.send(event).unwrap();
        }
        let running = relay.clone();
        let task = tokio::spawn(async move { running.hand_on(received).await });
        assert_eq!(quick.next().await, Err(Missed));
        assert_eq!((quick.next().await, quick.next().await), (Ok(1), Ok(2)));
        for event in 3..8 {
            source.send(event).unwrap();
            assert_eq!(quick.next().await, Ok(event));
        }
        assert_eq!((slow.next().await, slow.next().await), (Err(Missed), Ok(4)));
        drop(source);
        task.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_told_to_nobody_is_not_kept() {
        let relay = Arc::new(Relay::new(4));
        let running = relay.clone();
        let task = tokio::spawn(async move { running.run().await });
        tokio::task::yield_now().await;
        relay.tell(1);
        let mut listener = relay.listen();
        relay.tell(2);
        assert_eq!(listener.next().await, Ok(2));
        drop(listener);
        assert!(!relay.is_heard());
        task.abort();
    }
}
