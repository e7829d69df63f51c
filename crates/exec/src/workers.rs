//! Threads that are used again: a run needs some for a few milliseconds, and to make one takes as long as some runs'
//! whole supervision.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

type Work = Box<dyn FnOnce() + Send>;

/// How long a thread waits for more work before it ends.
const LINGER: Duration = Duration::from_secs(1);

/// The threads that wait, each with a number; the last one first, whose stack is warm.
static IDLE: Mutex<Idle> = Mutex::new(Idle {
    next: 0,
    waiting: Vec::new(),
});

struct Idle {
    next: u64,
    waiting: Vec<(u64, Sender<Work>)>,
}

fn idle() -> MutexGuard<'static, Idle> {
    IDLE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Work under way in a thread of its own.
#[derive(Debug)]
pub struct Task<T>(Receiver<T>);

impl<T> Task<T> {
    /// Waits for what it returns; `None` if it has panicked.
    pub fn join(self) -> Option<T> {
        self.0.recv().ok()
    }
}

/// Does something in a thread in which nothing else is done meanwhile: one that waits, or else a new one.
///
/// # Errors
/// If there is none and none can be made.
pub fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<Task<T>> {
    let (tell, told) = mpsc::channel();
    let mut work: Work = Box::new(move || {
        // Nobody may want to know.
        let _ = tell.send(work());
    });
    loop {
        let Some((_, thread)) = idle().waiting.pop() else {
            break;
        };
        match thread.send(work) {
            Ok(()) => return Ok(Task(told)),
            // It has ended.
            Err(mpsc::SendError(back)) => work = back,
        }
    }
    thread::Builder::new()
        .name("worker".to_owned())
        .spawn(move || serve(work))?;
    Ok(Task(told))
}

/// One thread: its work, and what comes while it lingers. A panic ends it, and has been told of by its message.
fn serve(mut work: Work) {
    loop {
        work();
        let (give, given) = mpsc::channel();
        let number = {
            let mut idle = idle();
            idle.next += 1;
            let number = idle.next;
            idle.waiting.push((number, give));
            number
        };
        work = match given.recv_timeout(LINGER) {
            Ok(work) => work,
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                idle().waiting.retain(|(other, _)| *other != number);
                // It may have been taken at the last moment: then something comes, else nobody can send any more.
                match given.recv() {
                    Ok(work) => work,
                    Err(_) => return,
                }
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_done_at_once_and_its_result_comes_back_from_threads_that_are_used_again() {
        let id = || thread::current().id();
        for _ in 0..20 {
            // Two that wait for one another are in two threads.
            let (one, other) = (mpsc::channel(), mpsc::channel());
            let first = spawn(move || (one.0.send(1).unwrap(), other.1.recv().unwrap()).1).unwrap();
            let second = spawn(move || (other.0.send(2).unwrap(), one.1.recv().unwrap()).1).unwrap();
            assert_eq!((first.join(), second.join()), (Some(2), Some(1)));
        }
        let mut ids: Vec<_> = (0..50).map(|_| spawn(id).unwrap().join().unwrap()).collect();
        ids.sort_by_key(|id| format!("{id:?}"));
        ids.dedup();
        assert!(ids.len() < 25, "{ids:?}");
    }

    #[test]
    fn work_that_panics_is_told_from_work_that_is_done() {
        assert_eq!(spawn(|| panic!("on purpose")).unwrap().join(), None::<()>);
        assert_eq!(spawn(|| 7).unwrap().join(), Some(7));
    }

    #[test]
    fn who_waits_ends_after_a_while_and_later_work_is_done_all_the_same() {
        spawn(|| ()).unwrap().join().unwrap();
        thread::sleep(LINGER + LINGER / 2);
        assert_eq!(spawn(|| 7).unwrap().join(), Some(7));
    }
}
