//! What one connection is still to be told: a queue with a limit in messages and in bytes.
//!
//! Written by the hub and by the connection's own session, read by that session only. An empty one
//! costs no queue: most sockets sit idle most of the time. All of them together draw on one
//! [`Pool`], lest many slow readers add up.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::signal::core::Event;
use crate::signal::frame::Text;

/// One thing to tell.
#[derive(Debug)]
pub(in crate::signal) enum Item {
    /// In the words of the connection's dialect; the how-manieth of its seat, if it is counted.
    Event(Event<Text>, Option<u64>),
    /// In these words.
    Text(Text),
}

/// Why nothing more will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signal) enum Cut {
    /// The queue ran over; what was in it is lost.
    TooSlow,
    /// The process ends; what was in the queue is still to be taken.
    Restart,
    /// Nothing more is to be said; what was in the queue is still to be taken.
    Done,
    /// The client has come back over another connection, which was given what was in the queue.
    Superseded,
    /// The operator has ended the room, or its member's part in it.
    Evicted,
}

/// The queue ran over, now or before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::signal) struct Overflow;

/// A bounded queue with one reader.
#[derive(Debug)]
pub(in crate::signal) struct Outbox {
    limits: Limits,
    pool: Arc<Pool>,
    state: Mutex<State>,
}

/// How much one queue holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Messages.
    pub(super) items: usize,
    /// Bytes.
    pub(super) bytes: usize,
    /// Bytes while the pool is overdrawn: enough for whoever keeps up more or less.
    pub(super) squeezed: usize,
}

/// What all queues hold together.
#[derive(Debug)]
pub(super) struct Pool {
    bytes: AtomicUsize,
    limit: usize,
}

impl Pool {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            limit,
        }
    }

    fn is_overdrawn(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > self.limit
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct State {
    items: VecDeque<Item>,
    bytes: usize,
    cut: Option<Cut>,
    reader: Option<Waker>,
}

impl Outbox {
    pub(super) fn new(limits: Limits, pool: Arc<Pool>) -> Self {
        Self {
            limits,
            pool,
            state: Mutex::default(),
        }
    }

    /// Appends. If there is no room for it, the connection is cut off.
    pub(in crate::signal) fn push(&self, item: Item) -> Result<(), Overflow> {
        let mut state = self.state();
        match state.cut {
            Some(Cut::TooSlow) => return Err(Overflow),
            Some(Cut::Restart | Cut::Done | Cut::Superseded | Cut::Evicted) => return Ok(()),
            None => {}
        }
        let weight = item.weight();
        let bytes = state.bytes.saturating_add(weight);
        let most = if self.pool.is_overdrawn() {
            self.limits.squeezed
        } else {
            self.limits.bytes
        };
        // Whoever has read everything is given one thing, however large: messages may have become
        // larger since it came.
        let is_too_much = bytes > most && !state.items.is_empty();
        if state.items.len() >= self.limits.items || is_too_much {
            state.items = VecDeque::new();
            self.pool.give_back(std::mem::take(&mut state.bytes));
            Self::end(state, Cut::TooSlow);
            return Err(Overflow);
        }
        self.pool.add(weight);
        state.bytes = bytes;
        state.items.push_back(item);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }

    /// Nothing more will come. The first reason stays.
    pub(in crate::signal) fn cut(&self, why: Cut) {
        let mut state = self.state();
        if state.cut.is_some() {
            return;
        }
        if matches!(why, Cut::Superseded | Cut::Evicted) {
            state.items = VecDeque::new();
            self.pool.give_back(std::mem::take(&mut state.bytes));
        }
        Self::end(state, why);
    }

    /// The next item, or why there will be none.
    pub(in crate::signal) fn poll_take(&self, cx: &Context<'_>) -> Poll<Result<Item, Cut>> {
        let mut state = self.state();
        if let Some(item) = state.items.pop_front() {
            let weight = item.weight();
            state.bytes = state.bytes.saturating_sub(weight);
            self.pool.give_back(weight);
            if state.items.is_empty() && state.items.capacity() > KEPT {
                state.items = VecDeque::new();
            }
            return Poll::Ready(Ok(item));
        }
        if let Some(cut) = state.cut {
            return Poll::Ready(Err(cut));
        }
        state.wait(cx);
        Poll::Pending
    }

    /// For a reader that cannot take anything now: ready once it would be in vain to go on waiting.
    pub(in crate::signal) fn poll_in_vain(&self, cx: &Context<'_>) -> Poll<Cut> {
        let mut state = self.state();
        if let Some(cut @ (Cut::TooSlow | Cut::Superseded | Cut::Evicted)) = state.cut {
            return Poll::Ready(cut);
        }
        state.wait(cx);
        Poll::Pending
    }

    fn end(mut state: MutexGuard<'_, State>, why: Cut) {
        state.cut = Some(why);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// Nothing that is done under the lock can be left half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let held = self.state().bytes;
        self.pool.give_back(held);
    }
}

impl State {
    fn wait(&mut self, cx: &Context<'_>) {
        match &mut self.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            None => self.reader = Some(cx.waker().clone()),
        }
    }
}

impl Item {
    /// Bytes that this keeps in memory, about.
    fn weight(&self) -> usize {
        let text = match self {
            Self::Event(Event::Relayed(text) | Event::Answered(text), _) | Self::Text(text) => {
                text.len()
            }
            Self::Event(..) => 0,
        };
        text.saturating_add(size_of::<Self>())
    }
}

/// Places kept when the queue has run empty.
const KEPT: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(items: usize, bytes: usize) -> Outbox {
        let limits = Limits {
            items,
            bytes,
            squeezed: bytes / 2,
        };
        Outbox::new(limits, Arc::new(Pool::new(usize::MAX)))
    }

    fn text(length: usize) -> Item {
        Item::Text("x".repeat(length).into())
    }

    fn take(outbox: &Outbox) -> Poll<Result<usize, Cut>> {
        let cx = Context::from_waker(Waker::noop());
        outbox.poll_take(&cx).map_ok(|item| match item {
            Item::Text(text) => text.len(),
            Item::Event(..) => panic!("only texts were put in"),
        })
    }

    #[test]
    fn items_come_out_in_order() {
        let outbox = outbox(4, 1000);
        for length in [1, 2, 3] {
            outbox.push(text(length)).unwrap();
        }
        assert_eq!(take(&outbox), Poll::Ready(Ok(1)));
        assert_eq!(take(&outbox), Poll::Ready(Ok(2)));
        assert_eq!(take(&outbox), Poll::Ready(Ok(3)));
        assert_eq!(take(&outbox), Poll::Pending);
    }

    #[test]
    fn one_message_too_many_cuts_the_connection_off_and_frees_the_memory() {
        let outbox = outbox(2, 1000);
        outbox.push(text(1)).unwrap();
        outbox.push(text(1)).unwrap();
        assert_eq!(outbox.push(text(1)), Err(Overflow));
        assert_eq!(take(&outbox), Poll::Ready(Err(Cut::TooSlow)));
        assert_eq!(outbox.push(text(1)), Err(Overflow));
        assert_eq!(outbox.state().items.capacity(), 0);
    }

    #[test]
    fn bytes_are_counted_and_given_back() {
        let item = text(0).weight();
        let outbox = outbox(100, 2 * (100 + item));
        for _ in 0..10 {
            outbox.push(text(100)).unwrap();
            outbox.push(text(100)).unwrap();
            assert_eq!(take(&outbox), Poll::Ready(Ok(100)));
            assert_eq!(take(&outbox), Poll::Ready(Ok(100)));
        }
        outbox.push(text(100)).unwrap();
        assert_eq!(outbox.push(text(101)), Err(Overflow));
    }

    #[test]
    fn an_empty_queue_takes_one_item_of_any_size() {
        let outbox = outbox(4, 1000);
        outbox.push(text(5000)).unwrap();
        assert_eq!(take(&outbox), Poll::Ready(Ok(5000)));
        outbox.push(text(5000)).unwrap();
        assert_eq!(outbox.push(text(1)), Err(Overflow));
    }

    #[test]
    fn when_memory_is_short_only_those_who_hold_much_of_it_are_cut_off() {
        let pool = Arc::new(Pool::new(10_000));
        let limits = Limits {
            items: 100,
            bytes: 8_000,
            squeezed: 1_000,
        };
        let [hoarder, other, modest] = [(); 3].map(|()| Outbox::new(limits, Arc::clone(&pool)));
        hoarder.push(text(7_000)).unwrap();
        other.push(text(4_000)).unwrap();
        modest.push(text(100)).unwrap();
        assert_eq!(hoarder.push(text(1)), Err(Overflow));
        // What the first held is free again, so the second need not go.
        other.push(text(1)).unwrap();
        drop(other);
        assert_eq!(take(&modest), Poll::Ready(Ok(100)));
        assert_eq!(pool.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_restart_lets_the_queue_be_read_to_its_end() {
        let outbox = outbox(4, 1000);
        outbox.push(text(7)).unwrap();
        outbox.cut(Cut::Restart);
        outbox.push(text(8)).unwrap();
        assert_eq!(take(&outbox), Poll::Ready(Ok(7)));
        assert_eq!(take(&outbox), Poll::Ready(Err(Cut::Restart)));
    }

    #[test]
    fn a_reader_that_cannot_take_still_hears_of_an_overflow() {
        let outbox = outbox(1, 1000);
        let cx = Context::from_waker(Waker::noop());
        outbox.push(text(1)).unwrap();
        assert_eq!(outbox.poll_in_vain(&cx), Poll::Pending);
        assert_eq!(outbox.push(text(1)), Err(Overflow));
        assert_eq!(outbox.poll_in_vain(&cx), Poll::Ready(Cut::TooSlow));
    }

    #[test]
    fn a_superseded_queue_is_dropped_and_its_reader_told_even_if_it_cannot_take() {
        let outbox = outbox(4, 1000);
        let cx = Context::from_waker(Waker::noop());
        outbox.push(text(1)).unwrap();
        outbox.cut(Cut::Superseded);
        assert_eq!(outbox.poll_in_vain(&cx), Poll::Ready(Cut::Superseded));
        assert_eq!(take(&outbox), Poll::Ready(Err(Cut::Superseded)));
        assert_eq!(outbox.state().bytes, 0);
    }
}
