//! An iterator whose next item is made while the last one is used.

use std::panic;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// The items of another iterator, each made on a thread of its own while the one before it is used. One is held ready.
/// Dropped early, it lets the thread end by itself.
pub struct Ahead<T> {
    made: Receiver<T>,
    maker: Option<JoinHandle<()>>,
    /// Where no thread is to be had, they are made when they are asked for.
    unmade: Option<Items<T>>,
}

type Items<T> = Box<dyn Iterator<Item = T> + Send>;

impl<T: Send + 'static> Ahead<T> {
    /// Begins to make them.
    pub fn new(items: impl Iterator<Item = T> + Send + 'static) -> Self {
        // Nothing waits in between: the maker holds the one that is ready.
        let (ready, made) = sync_channel(0);
        let items: Arc<Mutex<Option<Items<T>>>> = Arc::new(Mutex::new(Some(Box::new(items))));
        let taken = Arc::clone(&items);
        let work = move || {
            let mut items = take(&taken).into_iter().flatten();
            // Nobody takes any more once it is dropped.
            while items.next().is_some_and(|item| ready.send(item).is_ok()) {}
        };
        let maker = thread::Builder::new().spawn(work).ok();
        let unmade = if maker.is_none() { take(&items) } else { None };
        Self { made, maker, unmade }
    }
}

impl<T> Iterator for Ahead<T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        if let Some(items) = &mut self.unmade {
            return items.next();
        }
        let next = self.made.recv().ok();
        if next.is_none()
            && let Some(maker) = self.maker.take()
            && let Err(cause) = maker.join()
        {
            panic::resume_unwind(cause);
        }
        next
    }
}

fn take<T>(items: &Mutex<Option<Items<T>>>) -> Option<Items<T>> {
    items.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn all_come_in_order_and_the_end_stays_the_end() {
        let mut ahead = Ahead::new(0..1000);
        assert!(ahead.by_ref().eq(0..1000));
        assert_eq!((ahead.next(), ahead.next()), (None, None));
    }

    #[test]
    fn what_breaks_the_making_breaks_the_taking_behind_what_was_made() {
        let mut ahead = Ahead::new((0..5).inspect(|item| assert!(*item < 3, "broken")));
        let taken: Vec<i32> = ahead.by_ref().take(3).collect();
        let cause = panic::catch_unwind(panic::AssertUnwindSafe(|| ahead.next())).unwrap_err();
        assert_eq!((taken, cause.downcast_ref::<&str>()), (vec![0, 1, 2], Some(&"broken")));
    }

    #[test]
    fn without_a_thread_they_are_made_as_they_are_asked_for() {
        let unmade: Items<i32> = Box::new(0..3);
        let ahead = Ahead { made: sync_channel(0).1, maker: None, unmade: Some(unmade) };
        assert_eq!(ahead.collect::<Vec<_>>(), [0, 1, 2]);
    }

    #[test]
    fn dropped_early_it_leaves_no_thread() {
        let held = Arc::new(());
        let kept = Arc::clone(&held);
        let mut ahead = Ahead::new((0..).inspect(move |_| drop(Arc::clone(&kept))));
        assert_eq!(ahead.next(), Some(0));
        let maker = ahead.maker.take().unwrap();
        drop(ahead);
        maker.join().unwrap();
        assert_eq!(Arc::strong_count(&held), 1);
    }
}
