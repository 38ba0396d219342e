//! Reading ahead: tasks that fetch appends and L1 blocks before they are asked for, several at once, so
//! that the time L1 takes for an answer does not bound whoever derives.
//!
//! Owns the bounds on what is fetched and not taken yet. What comes out, its order and its checks are
//! the readers'. Does not follow L1: a reader ahead ends at the L1 block it was told.

use super::{
    InboxPosition, InboxReader, L1Block, L1BlockReader, L1Error, PostedAppend, inbox::Announced,
};
use futures::{StreamExt, stream};
use tokio::{sync::mpsc, task::JoinSet};

/// Appends fetched at once, and as many more that wait to be taken. One has at most six blobs: about
/// 0.8 MB, and three times that while it is read from JSON. When full, fetching waits.
const APPENDS_AHEAD_MAX: usize = 4;
/// L1 blocks fetched at once. At a block every twelve seconds they are a minute and a half of L2.
const BLOCKS_AT_ONCE: usize = 8;
/// L1 blocks that wait to be taken: some kilobytes each, more with many deposits.
const BLOCKS_AHEAD_MAX: usize = 16;

/// What a task that reads ahead hands over. Dropping it ends the task.
#[derive(Debug)]
struct Ahead<T> {
    receiver: mpsc::Receiver<Result<T, L1Error>>,
    _task: JoinSet<()>,
}

impl<T: Send + 'static> Ahead<T> {
    fn start<F: Future<Output = ()> + Send + 'static>(
        waiting_max: usize,
        read: impl FnOnce(mpsc::Sender<Result<T, L1Error>>) -> F,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(waiting_max);
        let mut task = JoinSet::new();
        task.spawn(read(sender));
        Self { receiver, _task: task }
    }

    async fn next(&mut self) -> Option<Result<T, L1Error>> {
        self.receiver.recv().await
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
    /// Starts to read the appends of L1 blocks `from..=to` that come after `position`, as
    /// [`Self::appends`] gives them. Must be called within a runtime.
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
        for (first, last) in Self::ranges(from, to) {
            let announced = match self.announced(position, first, last).await {
                Ok(announced) => announced,
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
            let reads = stream::iter(from..=to).map(|number| reader.clone().read(number));
            hand_on(reads.buffered(BLOCKS_AT_ONCE), &sender).await;
        })
    }
}
