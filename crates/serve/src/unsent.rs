//! Answers that are on their way: what clients have not taken yet holds no more memory than so many runs can fill.

use std::sync::Arc;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::answer::Refusal;

/// What is answered whether or not there is room: whoever asks for little is not held up by who takes nothing.
/// There are no more of these than connections.
const SMALL: usize = 64 << 10;

/// How many times as long as a limit of output an answer can be: in JSON one byte can become six, and what was
/// written to standard error stands in it twice.
const LONGER: u64 = 18;

/// What room is counted in.
const UNIT: usize = 1 << 10;

/// The room that there is for answers.
#[derive(Debug)]
pub(crate) struct Unsent(Arc<Semaphore>);

impl Unsent {
    /// Room for twice what `max_workers` runs can answer, each with streams of up to `output` bytes.
    pub(crate) fn new(output: Option<u64>, max_workers: usize) -> Self {
        let runs = 2 * max_workers as u64;
        let bytes = output.unwrap_or(u64::MAX).saturating_mul(LONGER * runs);
        let units = usize::try_from(bytes / UNIT as u64).unwrap_or(usize::MAX);
        Self(Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))))
    }

    /// The bytes of an answer, or of the next piece of one of which `before` bytes were told already. Their room is
    /// free again when they are sent, or nobody is there any more to take them.
    ///
    /// # Errors
    /// There is no room: others have not taken theirs.
    pub(crate) fn bytes(&self, text: String, before: usize) -> Result<Bytes, Refusal> {
        if before.saturating_add(text.len()) <= SMALL {
            return Ok(Bytes::from(text));
        }
        let units = u32::try_from(text.len().div_ceil(UNIT)).unwrap_or(u32::MAX);
        match Arc::clone(&self.0).try_acquire_many_owned(units) {
            Ok(room) => Ok(Bytes::from_owner(Kept { text, _room: room })),
            Err(_) => Err(Refusal::unavailable(
                "too many long answers wait for their clients to take them: it ran, and its answer is dropped",
            )),
        }
    }
}

/// A text with the room that it takes.
struct Kept {
    text: String,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_answers_have_room_while_others_are_taken_and_short_ones_always() {
        let unsent = Unsent::new(Some(10 << 10), 1); // 360 KiB
        let long = || "x".repeat(200 << 10);
        let first = unsent.bytes(long(), 0).unwrap();
        assert!(unsent.bytes(long(), 0).is_err());
        let part = first.slice(5..);
        drop(first);
        assert!(
            unsent.bytes(long(), 0).is_err(),
            "a part of it is still to be sent"
        );
        assert_eq!(unsent.bytes("short".to_owned(), 0).unwrap(), "short");
        drop(part);
        let again = unsent.bytes(long(), 0).unwrap();
        // Of a stream that has told much already, short pieces count as well.
        assert!(unsent.bytes("x".repeat(50 << 10), 0).is_ok());
        let pieces: Vec<_> = (0..10)
            .map(|_| unsent.bytes("x".repeat(50 << 10), SMALL))
            .collect();
        assert_eq!(pieces.iter().filter(|piece| piece.is_ok()).count(), 3);
        drop(again);
    }
}
