//! Finds the filters that match an event.
