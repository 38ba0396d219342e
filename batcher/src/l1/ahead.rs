//! Reading ahead: tasks that fetch appends and L1 blocks before they are asked for, several at once, so
//! that the time L1 takes for an answer does not bound whoever derives.
//!
//! Owns the bounds on what is fetched and not taken yet. What comes out, its order and its checks are
//! the readers'. Does not follow L1: a reader ahead ends at the L1 block it was told.

use super::{
    InboxPosition, InboxReader, L1Block, L1BlockReader, L1Error, PostedAppend, inbox::Announced,
};
use alloy::transports::RpcError;
use futures::{StreamExt, stream};
use tokio::{sync::mpsc, task::JoinSet};

/// Appends fetched at once, and as many more that wait to be taken. One has at most six blobs: about
/// 0.8 MB, and three times that while it is read from JSON. When full, fetching waits.
const APPENDS_AHEAD_MAX: usize = 4;
/// L1 blocks asked for in one request for logs: providers refuse more, and some less.
const LOG_BLOCKS_MAX: u64 = 1_000;
/// L1 blocks fetched at once. At a block every twelve seconds they are a minute and a half of L2.
const BLOCKS_AT_ONCE: usize = 8;
/// L1 blocks that wait to be taken: some kilobytes each, more with many deposits.
const BLOCKS_AHEAD_MAX: usize = 16;

/// What a task that reads ahead hands over. Dropping it ends the task.
#[derive(Debug)]
struct Ahead<T> {
    receiver: mpsc::Receiver<Result<T, L1Error>>,
    task: JoinSet<()>,
}

impl<T: Send + 'static> Ahead<T> {
    fn start<F: Future<Output = ()> + Send + 'static>(
        waiting_max: usize,
        read: impl FnOnce(mpsc::Sender<Result<T, L1Error>>) -> F,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(waiting_max);
        let mut task = JoinSet::new();
        task.spawn(read(sender));
        Self { receiver, task }
    }

    /// `None` where the task came to its end; one that stopped before is an error.
    async fn next(&mut self) -> Option<Result<T, L1Error>> {
        if let Some(item) = self.receiver.recv().await {
            return Some(item);
        }
        let stopped = self.task.join_next().await?.err()?;
        Some(Err(stopped.into()))
    }
}

/// Hands on what comes, up to the first error. False where nothing more is to be read: after an error,
/// and when nobody listens any more.
async fn hand_on<T>(
    mut items: impl futures::Stream<Item = Result<T, L1Error>> + Unpin,
    sender: &mpsc::Sender<Result<T, L1Error>>,
) -> bool {
    while let Some(item) = items.next().await {
        let has_failed = item.is_err();
        if sender.send(item).await.is_err() || has_failed {
            return false;
        }
    }
    true
}

/// How many L1 blocks are asked for in one request for logs: half as many after each that is refused, and
/// slowly more after each that is answered. What an endpoint allows may depend on what is in them.
#[derive(Clone, Copy, Debug)]
struct LogSpan(u64);

impl LogSpan {
    /// The last block to ask for from `first` on, of those up to `to`.
    fn last(self, first: u64, to: u64) -> u64 {
        to.min(first.saturating_add(self.0 - 1))
    }

    /// So many were refused; whether fewer can be asked for.
    fn refused(&mut self, blocks: u64) -> bool {
        self.0 = (blocks / 2).max(1);
        blocks > 1
    }

    fn answered(&mut self) {
        self.0 = LOG_BLOCKS_MAX.min(self.0 + self.0.div_ceil(8));
    }
}

/// Appends that are being read ahead.
#[derive(Debug)]
pub struct AppendsAhead(Ahead<PostedAppend>);

impl AppendsAhead {
    /// The next append in the Inbox's order; `None` after the last. An error is the last that comes.
    pub async fn next(&mut self) -> Option<Result<PostedAppend, L1Error>> {
        self.0.next().await
    }
}

impl InboxReader {
    /// Starts to read the appends of L1 blocks `from..=to` that come after `position`, in order, with
    /// their bytes. All that comes out is checked to continue `position` without a gap; it is
    /// [`L1Error::Reorged`] when the first event does not, because then L1 is not the chain on which the
    /// caller got there, or its logs were incomplete. Must be called within a runtime.
    #[must_use]
    pub fn appends_ahead(&self, position: InboxPosition, from: u64, to: u64) -> AppendsAhead {
        let reader = self.clone();
        let read = |sender| async move { reader.send_appends(position, (from, to), &sender).await };
        AppendsAhead(Ahead::start(APPENDS_AHEAD_MAX, read))
    }

    async fn send_appends(
        self,
        mut position: InboxPosition,
        (from, to): (u64, u64),
        sender: &mpsc::Sender<Result<PostedAppend, L1Error>>,
    ) {
        let (mut first, mut span) = (from, LogSpan(LOG_BLOCKS_MAX));
        while first <= to {
            let last = span.last(first, to);
            let announced = match self.announced(position, first, last).await {
                Ok(announced) => announced,
                Err(L1Error::Rpc(RpcError::ErrorResp(error))) if span.refused(last - first + 1) => {
                    tracing::debug!(%error, first, last, "asking for the logs of fewer blocks");
                    continue;
                }
                Err(error) => {
                    // Where nobody listens there is nothing to tell.
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            };
            position = announced.last().map_or(position, Announced::position);
            let reads = stream::iter(announced).map(|announced| self.clone().read(announced));
            if !hand_on(reads.buffered(APPENDS_AHEAD_MAX), sender).await {
                return;
            }
            span.answered();
            first = last.saturating_add(1);
        }
    }
}

/// L1 blocks that are being read ahead, for somebody who asks for one after the other.
#[derive(Debug)]
pub struct BlocksAhead {
    reader: L1BlockReader,
    /// The last one that may be asked for.
    to: u64,
    /// What is read, and the number of the next that it gives.
    ahead: Option<(Ahead<L1Block>, u64)>,
}

impl BlocksAhead {
    /// Nothing is read before the first block is asked for.
    #[must_use]
    pub fn new(reader: L1BlockReader, to: u64) -> Self {
        Self { reader, to, ahead: None }
    }

    /// The canonical L1 block of this number, and those after it from now on.
    ///
    /// # Errors
    /// As [`L1BlockReader::block`].
    pub async fn block(&mut self, number: u64) -> Result<L1Block, L1Error> {
        if let Some((ahead, next)) = &mut self.ahead
            && *next == number
            && let Some(block) = ahead.next().await
        {
            *next += 1;
            if block.is_err() {
                self.ahead = None;
            }
            return block;
        }
        let block = self.reader.block(number).await?;
        self.ahead = Some((self.start(number.saturating_add(1)), number.saturating_add(1)));
        Ok(block)
    }

    fn start(&self, from: u64) -> Ahead<L1Block> {
        let (reader, to) = (self.reader.clone(), self.to);
        Ahead::start(BLOCKS_AHEAD_MAX, |sender| async move {
            let reads = stream::iter(from..=to).map(|number| {
                let reader = reader.clone();
                async move { reader.block(number).await }
            });
            hand_on(reads.buffered(BLOCKS_AT_ONCE), &sender).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_logs_are_asked_for_where_many_are_refused() {
        let mut span = LogSpan(LOG_BLOCKS_MAX);
        assert_eq!((span.last(5, 9_000), span.last(5, 7)), (1_004, 7));
        // An end that is near was refused: the whole span goes down to it.
        assert!(span.refused(3));
        assert_eq!(span.last(5, 7), 5);
        assert!(!span.refused(1));
        let mut spans = Vec::new();
        for _ in 0..80 {
            span.answered();
            spans.push(span.0);
        }
        assert_eq!((&spans[..10], spans[79]), (&[2, 3, 4, 5, 6, 7, 8, 9, 11, 13][..], 1_000));
    }

    #[tokio::test]
    async fn a_task_that_stopped_is_not_the_end() {
        let one = |sender: mpsc::Sender<Result<u8, L1Error>>| async move {
            let _ = sender.send(Ok(1)).await;
        };
        let mut ended = Ahead::start(1, one);
        assert!(matches!(ended.next().await, Some(Ok(1))));
        assert!(ended.next().await.is_none() && ended.next().await.is_none());
        let mut stopped = Ahead::start(1, |sender| async move {
            one(sender).await;
            panic!("as a bug would");
        });
        assert!(matches!(stopped.next().await, Some(Ok(1))));
        assert!(matches!(stopped.next().await, Some(Err(L1Error::Stopped(_)))));
    }
}
