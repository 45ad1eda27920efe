//! Events ordered by time, and by their order of scheduling within a moment.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

#[derive(Debug, Clone)]
struct Entry<E> {
    at: u64,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A queue of events in virtual milliseconds.
#[derive(Debug, Clone)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Entry<E>>>,
    now: u64,
    scheduled: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), now: 0, scheduled: 0 }
    }
}

impl<E> Queue<E> {
    /// The present moment.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Events that wait.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Schedules an event so many milliseconds from now.
    pub fn after(&mut self, delay: u64, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// Schedules an event at a moment, or now if that has passed.
    pub fn at(&mut self, at: u64, event: E) {
        self.scheduled += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), number: self.scheduled, event }));
    }

    /// Moment of the next event.
    pub fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    /// Goes on to the next event.
    pub fn pop(&mut self) -> Option<E> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }

    /// Lets time pass without an event; not beyond the next one.
    pub fn advance(&mut self, to: u64) {
        let limit = self.next_at().unwrap_or(u64::MAX).min(to);
        self.now = self.now.max(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_within_a_moment_in_the_order_of_scheduling() {
        let mut queue = Queue::default();
        queue.at(20, "d");
        queue.at(10, "b");
        queue.at(10, "c");
        queue.at(5, "a");
        let order: Vec<&str> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
        assert_eq!(queue.now(), 20);
    }

    #[test]
    fn an_event_for_the_past_happens_now_and_time_never_goes_back() {
        let mut queue = Queue::default();
        queue.at(10, 1);
        queue.pop();
        queue.at(3, 2);
        assert_eq!(queue.next_at(), Some(10));
        queue.pop();
        queue.advance(4);
        assert_eq!(queue.now(), 10);
        queue.at(30, 3);
        queue.advance(100);
        assert_eq!(queue.now(), 30, "no event is jumped over");
    }
}
