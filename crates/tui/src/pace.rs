//! When the next picture is due: keys are answered at once, data waits for its turn.

use std::time::Duration;

use tokio::time::Instant;

/// Between pictures that only data asks for.
const FRAME: Duration = Duration::from_millis(66);
/// The same for those who asked for less motion.
const CALM_FRAME: Duration = Duration::from_secs(1);
/// Between pictures while keys come: a held key must not fill the terminal's pipe.
const KEY_FRAME: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub struct Pace {
    data_frame: Duration,
    drawn: Instant,
    due: Option<Instant>,
}

impl Pace {
    #[must_use]
    pub fn new(reduced_motion: bool, now: Instant) -> Self {
        Self { data_frame: if reduced_motion { CALM_FRAME } else { FRAME }, drawn: now, due: None }
    }

    /// Something came that may change the picture: reports, events, the clock.
    pub fn data(&mut self) {
        self.after(self.data_frame);
    }

    /// A key was pressed, the mouse moved, or the size changed.
    pub fn input(&mut self) {
        self.after(KEY_FRAME);
    }

    /// The terminal's picture is not ours any more.
    pub fn lost(&mut self) {
        self.after(Duration::ZERO);
    }

    pub fn drawn(&mut self, now: Instant) {
        self.drawn = now;
        self.due = None;
    }

    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Soon, but no sooner than `gap` after the last picture.
    fn after(&mut self, gap: Duration) {
        let at = self.drawn + gap;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long after the last picture the next one is due.
    fn gap(pace: &Pace) -> Option<Duration> {
        pace.due().map(|due| due - pace.drawn)
    }

    #[test]
    fn data_moves_the_picture_fifteen_times_a_second_or_once() {
        let start = Instant::now();
        for (reduced_motion, frame) in [(false, FRAME), (true, Duration::from_secs(1))] {
            let mut pace = Pace::new(reduced_motion, start);
            assert_eq!(gap(&pace), None, "nothing changed");
            pace.data();
            assert_eq!(gap(&pace), Some(frame));
            pace.drawn(start + frame);
            assert_eq!(gap(&pace), None, "one picture is enough for all that came before it");
            pace.data();
            pace.data();
            assert_eq!(gap(&pace), Some(frame));
        }
    }

    #[test]
    fn a_key_is_answered_at_once_whatever_motion_is_wanted() {
        for reduced_motion in [false, true] {
            let mut pace = Pace::new(reduced_motion, Instant::now());
            pace.data();
            pace.input();
            assert_eq!(gap(&pace), Some(KEY_FRAME));
            pace.data();
            assert_eq!(gap(&pace), Some(KEY_FRAME), "data does not put it off");
            pace.lost();
            assert_eq!(gap(&pace), Some(Duration::ZERO));
        }
    }
}
